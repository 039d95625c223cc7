import {
  type Charge,
  type ChargeReceipt,
  type Db,
  findReceipts,
  getService,
  listCharges,
  openStates,
  type Tx,
} from '@protocolbanks/stream-db'
import { addressSchema, canonicalJson, formatAmount, requestIdPattern } from '@protocolbanks/stream-protocol'
import { type Context, type Env, Hono } from 'hono'
import { z } from 'zod'
import { type Chain, networkOf } from '../payment/chain.ts'
import type { ReceiptSigner } from '../payment/createReceiptSigner.ts'
import { signReceipt } from '../payment/createReceiptWriter.ts'
import { problem } from '../problem.ts'
import { describeReceipts } from './openapi/operations/receiptOperations.ts'
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

export const receiptListSchema = pageSchema.extend({
  grantId: grantIdSchema.optional(),
  serviceId: z
    .string()
    .refine((text) => idOf('svc', text) !== undefined, 'must be the id of a service')
    .optional(),
  /** Charged in [`from`, `to`). */
  from: momentSchema.optional(),
  to: momentSchema.optional(),
})

export const receiptSchema = z.strictObject({ grantId: grantIdSchema.optional(), payee: addressSchema.optional() })

/** A charge is journalled within a second or two of its answer. */
const journalSeconds = 2

/**
 * What was charged, from the journal, for a merchant, an owner or the operator. `GET /:requestId`: the receipts of a request,
 * signed anew, with what became of them. Request ids are unique for a grant and payee alone, so it is a list, which `grantId` and
 * `payee` narrow to one. What was released is not there, and what was captured has its final amount.
 */
export function createReceiptRoutes<E extends Env>(deps: ReceiptRoutesDeps<E>): Hono<E> {
  const { db, tokenDecimals, receiptSigner, run } = deps
  const network = networkOf(deps.chain)
  const routes = new Hono<E>()

  routes.get('/', async (c) => {
    const { serviceId, ...filter } = validQuery(c, receiptListSchema)
    // By its merchant a service's charges are found without looking through everybody's.
    const service = serviceId === undefined ? undefined : await getService(db, serviceId)
    if (serviceId !== undefined && !service) return c.json({ receipts: [], nextCursor: undefined })
    const of = { ...filter, serviceId, merchantId: service?.merchantId }
    const { items, nextCursor } = await run(c, (tx) => listCharges(tx, of))
    return c.json({ receipts: items.map(chargeToJson), nextCursor })
  })

  routes.get('/:requestId', async (c) => {
    const requestId = c.req.param('requestId')
    const only = validQuery(c, receiptSchema)
    const isOne = requestIdPattern.test(requestId)
    const found = isOne ? await run(c, (tx) => findReceipts(tx, { requestId, ...only })) : []
    if (found.length > 0) return c.json({ requestId, receipts: found.map(toJson) })
    return problem(404, 'receipt.unknown', 'No charge with this request id is known (to you).', {
      detail: `Request id: ${requestId.slice(0, 128)}`,
      hint: 'A charge is found once it is journalled, a second or two after its answer. One that was released is not there.',
      headers: { 'retry-after': `${journalSeconds}` },
    })
  })

  function toJson(found: ChargeReceipt) {
    const receipt = signReceipt(settleResponseOf(found), receiptSigner)
    const { segment: _, ...one } = chargeToJson(found)
    return {
      ...one,
      /** How many charges `amount` is the sum of. */
      segments: found.segments,
      settlement: settlementOf(found),
      receipt,
      /** As PAYMENT-RESPONSE carries it. */
      header: Buffer.from(canonicalJson(receipt)).toString('base64'),
    }
  }

  /** As the paid answer said it, but for `charged`, which counts here in the order of time. */
  function settleResponseOf({ amount, account, occurredAt, ...charge }: ChargeReceipt) {
    const { grantId, payee, requestId, serviceId: service, source, traceId } = charge
    return {
      success: true,
      transaction: '',
      network,
      payer: account,
      amount: amount.toString(),
      extra: {
        grantId,
        payee,
        charged: charge.chargedUpTo.toString(),
        authorized: charge.cumulativeAmount.toString(),
        requestId,
        service,
        source: source ?? undefined,
        time: occurredAt.toISOString(),
        traceId: traceId ?? undefined,
      },
    }
  }

  function chargeToJson({ amount, occurredAt, ...charge }: Charge) {
    const { eventId, journalledAt, grantId, account, payee, merchantId, serviceId, traceId } = charge
    const [requestId = '', segment = '1'] = charge.requestId.split('~')
    return {
      requestId,
      /** A stream that is charged by use is charged in several: this is which of them, and `amount` its own. */
      segment: Number(segment),
      eventId,
      occurredAt,
      journalledAt,
      grantId,
      account,
      payee,
      merchantId,
      serviceId,
      traceId,
      amount: formatAmount(amount, tokenDecimals),
      amountAtomic: amount.toString(),
    }
  }

  describeReceipts(routes, { list: receiptListSchema, one: receiptSchema })
  return routes
}

/**
 * `settled`: the payee has it, by this transaction where the settlement was ours. `settling`: a settlement claims it.
 * `owed`: none does.
 */
function settlementOf({ isSettled, settlements }: ChargeReceipt) {
  const newest = settlements.at(-1)
  const claims = newest !== undefined && (openStates as readonly string[]).includes(newest.state)
  const last = newest && { id: newest.id, state: newest.state, txHash: newest.txHash }
  return { state: isSettled ? 'settled' : claims ? 'settling' : 'owed', last: last ?? null }
}
