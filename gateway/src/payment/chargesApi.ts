import { atomicAmountSchema } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { clientAddress } from '../owners/clientAddress.ts'
import { problem } from '../problem.ts'
import type { ServiceTable } from '../services/serviceTable.ts'
import type { EndedCall } from '../tracing/logCall.ts'
import type { RequestTrace } from '../tracing/traceRequests.ts'
import { fingerprintOf } from './fingerprint.ts'
import type { PaymentGate, ServedCharge } from './paymentGate.ts'

const chargeSchema = z.strictObject({
  /** Name of one of the merchant's services. */
  service: z.string().min(1).max(64),
  /** Price of this call; the service's own when left out. */
  amountAtomic: atomicAmountSchema.optional(),
  method: z.string().min(1).max(16),
  url: z.url().max(2048),
  /** Of the request's body, any hash the merchant likes. */
  bodyHash: z.string().max(128).optional(),
  /** Chosen by the merchant, so that they can release a charge whose answer they never got. */
  ticket: z.uuid().optional(),
  /** The client's PAYMENT-SIGNATURE. */
  paymentSignature: z.string().max(16_384).nullable(),
  /** The address of who asks the merchant, if their server can tell. It is not kept. */
  clientAddress: z.string().max(64).optional(),
})

export type ChargesApiOptions = {
  gate: PaymentGate
  services: ServiceTable
  /** The merchant of an API key; undefined when the key is not one. */
  merchantOf(authorization: string | undefined): Promise<string | undefined>
  createTicketId(): string
  /** A charge whose outcome nobody reported within this time was served. */
  outcomeTimeoutMs: number
  /** How usage events name the client at an address. */
  hashClient?: ((address: string) => string | undefined) | undefined
  onOutcome?(outcome: string, call: EndedCall): void
}

type ChargesEnv = { Variables: { merchantId: string; trace?: RequestTrace } }

/** Charges in flight at merchants who ask from their own process. */
const maxOpenTickets = 100_000

/**
 * Payment for services that the merchant's own process serves (the SDK's middleware): `POST /` asks whether to serve,
 * `POST /:ticket/served` and `POST /:ticket/release` report how it ended.
 */
export function createChargesApi(options: ChargesApiOptions): Hono<ChargesEnv> {
  const { gate, services, merchantOf, createTicketId, onOutcome } = options
  const open = new LRUCache<string, { merchantId: string; charge: ServedCharge; call: EndedCall }>({
    max: maxOpenTickets,
    ttl: options.outcomeTimeoutMs,
    ttlAutopurge: true,
    dispose({ charge }, _, reason) {
      if (reason === 'expire' || reason === 'evict') charge.served(undefined)
    },
  })
  /** Released before they were charged: the answer to the charge was given up before it was made. */
  const cancelled = new LRUCache<string, true>({ max: maxOpenTickets, ttl: options.outcomeTimeoutMs })
  const api = new Hono<ChargesEnv>()

  api.use(async (c, next) => {
    const merchantId = await merchantOf(c.req.header('authorization'))
    if (merchantId === undefined) {
      return problem(401, 'api_key.invalid', 'The API key is missing or not known.', {
        hint: 'Send a merchant API key as `Authorization: Bearer pb_...`.',
      })
    }
    c.set('merchantId', merchantId)
    return next()
  })

  api.post('/', async (c) => {
    const merchantId = c.get('merchantId')
    const parsed = chargeSchema.safeParse(await c.req.json().catch(() => undefined))
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      return problem(400, 'request.invalid', 'The request is not valid.', {
        detail: `${issue?.path.join('.')}: ${issue?.message}`,
      })
    }
    const { service: name, amountAtomic, method, url, bodyHash, paymentSignature, clientAddress: remote } = parsed.data
    const find = () => services.byName(merchantId, name)
    const service = find() ?? (await services.findAnew(find))
    if (!service) {
      return problem(404, 'service.unknown', 'You have no service of this name.', {
        detail: `Service: ${name}`,
        hint: 'Create it with POST /api/services.',
      })
    }
    const trace = c.get('trace')
    const charging = trace?.child('charge')
    const verdict = await gate.authorize({
      service,
      amount: amountAtomic === undefined ? service.price : BigInt(amountAtomic),
      url,
      payment: paymentSignature ?? undefined,
      fingerprint: () => fingerprintOf(method, url, bodyHash === undefined ? undefined : Buffer.from(bodyHash)),
      trace: trace?.context,
      client: remote === undefined ? undefined : options.hashClient?.(clientAddress({ remote })),
    })
    charging?.end(verdict.kind === 'refused' ? verdict.code : undefined)
    const call: EndedCall = { trace, service, ticket: undefined }
    if (verdict.kind === 'serve') {
      const ticket = parsed.data.ticket ?? createTicketId()
      if (open.has(ticket) || cancelled.has(`${merchantId} ${ticket}`)) {
        await verdict.charge.release()
        return problem(409, 'ticket.used', 'This ticket was used or given up before.', { detail: `Ticket: ${ticket}` })
      }
      call.ticket = verdict.charge.ticket
      open.set(ticket, { merchantId, charge: verdict.charge, call })
      return c.json({ outcome: 'charged', ticket, headers: { 'payment-response': verdict.charge.receipt } })
    }
    if (verdict.kind === 'replay') throw new Error('a merchant-served answer is never kept here')
    onOutcome?.(verdict.code, call)
    const { response } = verdict
    const headers = Object.fromEntries(response.headers)
    return c.json({ outcome: 'answer', status: response.status, headers, body: await response.text() })
  })

  api.post('/:ticket/:outcome{served|release}', async (c) => {
    const ticket = c.req.param('ticket')
    const entry = open.get(ticket)
    if (!entry || entry.merchantId !== c.get('merchantId')) {
      if (c.req.param('outcome') === 'release') cancelled.set(`${c.get('merchantId')} ${ticket.slice(0, 64)}`, true)
      return problem(404, 'ticket.unknown', 'No open charge has this ticket.', {
        detail: `Ticket: ${ticket}`,
      })
    }
    open.delete(ticket)
    if (c.req.param('outcome') === 'served') {
      entry.charge.served(undefined)
      onOutcome?.('served', entry.call)
      return c.json({ released: false })
    }
    const released = await entry.charge.release()
    onOutcome?.(released ? 'released' : 'broken', entry.call)
    return c.json({ released })
  })

  return api
}
