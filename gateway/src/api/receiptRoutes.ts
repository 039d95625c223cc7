import {
  type Db,
  findReceipts,
  findX402Receipts,
  getService,
  listCharges,
  listX402Receipts,
  type Tx,
} from '@protocolbanks/stream-db'
import { addressSchema, requestIdPattern } from '@protocolbanks/stream-protocol'
import { type Context, type Env, Hono } from 'hono'
import { z } from 'zod'
import { type Chain, networkOf } from '../payment/chain.ts'
import type { ReceiptSigner } from '../payment/createReceiptSigner.ts'
import { problem } from '../problem.ts'
import { describeReceipts } from './openapi/operations/receiptOperations.ts'
import { createReceiptView } from './receiptView.ts'
import { grantIdSchema, idOf, pageSchema } from './schemas.ts'
import { validQuery } from './validate.ts'

export type ReceiptRoutesDeps<E extends Env> = {
  db: Db
  chain: Pick<Chain, 'chainId'>
  tokenDecimals: number
  /** Without one the receipts are not signed. */
  receiptSigner?: Pick<ReceiptSigner, 'sign'> | undefined
  /** One transaction that sees what the caller of this request may see. */
  run<T>(c: Context<E>, work: (tx: Tx) => Promise<T>): Promise<T>
}

const momentSchema = z.iso.datetime({ offset: true }).transform((text) => new Date(text))

export const receiptListSchema = pageSchema
  .extend({
    /** What was paid by: the two are lists of their own, each with its own cursors. */
    scheme: z.enum(['session', 'exact']).default('session'),
    grantId: grantIdSchema.optional(),
    serviceId: z
      .string()
      .refine((text) => idOf('svc', text) !== undefined, 'must be the id of a service')
      .optional(),
    /** Charged in [`from`, `to`). */
    from: momentSchema.optional(),
    to: momentSchema.optional(),
  })
  .refine(({ scheme, grantId }) => scheme === 'session' || grantId === undefined, {
    path: ['grantId'],
    message: 'what is paid by exact has no grant',
  })

export const receiptSchema = z.strictObject({ grantId: grantIdSchema.optional(), payee: addressSchema.optional() })

/** A charge is journalled within a second or two of its answer. */
const journalSeconds = 2

/**
 * What was paid, for a merchant, an owner or the operator: charges from the journal, and payments by `exact`, which MPP's
 * `evm/charge` are too. `GET /:requestId`: the receipts of a request, signed anew, with what became of them. Request ids are unique
 * for a grant and payee alone, or for a payer and payee, so it is a list, which `grantId` and `payee` narrow to one. What was
 * released is not there, and what was captured has its final amount.
 */
export function createReceiptRoutes<E extends Env>(deps: ReceiptRoutesDeps<E>): Hono<E> {
  const { db, run } = deps
  const view = createReceiptView({ ...deps, network: networkOf(deps.chain) })
  const routes = new Hono<E>()

  routes.get('/', async (c) => {
    const { serviceId, scheme, grantId, ...page } = validQuery(c, receiptListSchema)
    // By its merchant a service's charges are found without looking through everybody's.
    const service = serviceId === undefined ? undefined : await getService(db, serviceId)
    if (serviceId !== undefined && !service) return c.json({ receipts: [], nextCursor: undefined })
    const of = { ...page, serviceId, merchantId: service?.merchantId }
    if (scheme === 'exact') {
      const { items, nextCursor } = await run(c, (tx) => listX402Receipts(tx, of))
      return c.json({ receipts: items.map(view.exact), nextCursor })
    }
    const { items, nextCursor } = await run(c, (tx) => listCharges(tx, { ...of, grantId }))
    return c.json({ receipts: items.map(view.charge), nextCursor })
  })

  routes.get('/:requestId', async (c) => {
    const requestId = c.req.param('requestId')
    const only = validQuery(c, receiptSchema)
    const isOne = requestIdPattern.test(requestId)
    const receipts = isOne ? await run(c, (tx) => find(tx, { requestId, ...only })) : []
    if (receipts.length > 0) return c.json({ requestId, receipts })
    return problem(404, 'receipt.unknown', 'No charge with this request id is known (to you).', {
      detail: `Request id: ${requestId.slice(0, 128)}`,
      hint: 'A charge is found once it is journalled, a second or two after its answer. One that was released is not there.',
      headers: { 'retry-after': `${journalSeconds}` },
    })
  })

  /** Newest first. */
  async function find(tx: Tx, of: { requestId: string } & z.output<typeof receiptSchema>) {
    const charges = await findReceipts(tx, of)
    const payments = of.grantId === undefined ? await findX402Receipts(tx, of) : []
    const found = [...charges.map(view.chargeReceipt), ...payments.map(view.exactReceipt)]
    return found.toSorted((one, other) => other.occurredAt.getTime() - one.occurredAt.getTime())
  }

  describeReceipts(routes, { list: receiptListSchema, one: receiptSchema })
  return routes
}
