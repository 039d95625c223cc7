import { Hono } from 'hono'
import { LRUCache } from 'lru-cache'
import type { z } from 'zod'
import { clientAddress } from '../owners/clientAddress.ts'
import { problem } from '../problem.ts'
import type { ServiceTable } from '../services/serviceTable.ts'
import type { EndedCall } from '../tracing/logCall.ts'
import type { RequestTrace } from '../tracing/traceRequests.ts'
import { captureSchema, chargeSchema, extendSchema } from './chargeSchemas.ts'
import { fingerprintOf } from './fingerprint.ts'
import type { CaptureOutcome, PaymentGate, ServedCharge } from './paymentGate.ts'
import { abandonCharge, settleTicket, type TicketSettled } from './settleTicket.ts'

export type ChargesApiOptions = {
  gate: PaymentGate
  services: ServiceTable
  /** The merchant of an API key; undefined when the key is not one. */
  merchantOf(authorization: string | undefined): Promise<string | undefined>
  createTicketId(): string
  /** A charge whose outcome nobody reported within this time is over; see `abandonCharge`. */
  outcomeTimeoutMs: number
  /** How usage events name the client at an address. */
  hashClient?: ((address: string) => string | undefined) | undefined
  onOutcome?(outcome: string, call: EndedCall): void
}

type ChargesEnv = { Variables: { merchantId: string; trace?: RequestTrace } }

/** Charges in flight at merchants who ask from their own process. */
const maxOpenTickets = 100_000

type OpenTicket = {
  merchantId: string
  charge: ServedCharge
  call: EndedCall
  captured?: Promise<CaptureOutcome>
  settling?: Promise<TicketSettled>
  /** Segments are charged one after the other. */
  extending: Promise<unknown>
}

/**
 * Payment for services that the merchant's own process serves (the SDK's middleware): `POST /` asks whether to serve,
 * `POST /:ticket/served` and `POST /:ticket/release` report how it ended.
 *
 * Of a call that is priced by use `POST /` holds the most. `POST /:ticket/capture {amountAtomic}` charges what it cost, once,
 * and answers `{amountAtomic, headers}` with the receipt; `served` follows. `POST /:ticket/extend {amountAtomic, usedAtomic?,
 * segment?}` charges the next segment of a stream and answers `{outcome: 'charged', headers}`, or, until the next voucher has
 * come, `{outcome: 'exhausted', requiredCumulative, acceptedCumulative}`, or `{outcome: 'refused', code}`. A voucher for a stream
 * comes as a request of its own: `POST /` with its PAYMENT-SIGNATURE answers `{outcome: 'answer', status: 204}`.
 *
 * What was charged with `settleSeconds` has not been paid yet. `POST /:ticket/settle`, which takes as long at most, answers
 * `{outcome: 'settled', headers}`, and `served` follows; or `{outcome: 'answer', status, headers, body}`, which the client gets
 * in the place of what the handler answered. Asked again it answers the same.
 */
export function createChargesApi(options: ChargesApiOptions): Hono<ChargesEnv> {
  const { gate, services, merchantOf, createTicketId, onOutcome } = options
  const open = new LRUCache<string, OpenTicket>({
    max: maxOpenTickets,
    ttl: options.outcomeTimeoutMs,
    ttlAutopurge: true,
    dispose({ charge, settling }, _, reason) {
      if (reason === 'expire' || reason === 'evict') abandonCharge(charge, settling)
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
      return invalid(`${issue?.path.join('.')}: ${issue?.message}`)
    }
    const { service: name, method, url, bodyHash, paymentSignature, clientAddress: remote } = parsed.data
    const find = () => services.byName(merchantId, name)
    const service = find() ?? (await services.findAnew(find))
    if (!service) {
      return problem(404, 'service.unknown', 'You have no service of this name.', {
        detail: `Service: ${name}`,
        hint: 'Create it with POST /api/services.',
      })
    }
    const amount = parsed.data.amountAtomic === undefined ? service.price : BigInt(parsed.data.amountAtomic)
    const hold = parsed.data.holdAtomic === undefined ? amount : BigInt(parsed.data.holdAtomic)
    if (hold > amount) return invalid(`holdAtomic: ${hold} is above the price of ${amount}`)
    const trace = c.get('trace')
    const charging = trace?.child('charge')
    const verdict = await gate.authorize({
      service,
      amount,
      hold,
      pricing: parsed.data.pricing,
      url,
      payment: paymentSignature ?? undefined,
      fingerprint: () => fingerprintOf(method, url, bodyHash === undefined ? undefined : Buffer.from(bodyHash)),
      trace: trace?.context,
      client: remote === undefined ? undefined : options.hashClient?.(clientAddress({ remote })),
      settles: parsed.data.settles || undefined,
      keepsAnswers: true,
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
      const entry = { merchantId, charge: verdict.charge, call, extending: Promise.resolve() }
      const { settle, settleSeconds, receipt } = verdict.charge
      if (settle) {
        // Its handler may take as long as the offer has counted on.
        open.set(ticket, entry, { ttl: Math.max(options.outcomeTimeoutMs, service.upstreamTimeoutMs) })
        return c.json({ outcome: 'charged', ticket, headers: {}, settleSeconds })
      }
      open.set(ticket, entry)
      return c.json({ outcome: 'charged', ticket, headers: { 'payment-response': receipt } })
    }
    const { code, response } = verdict.kind === 'replay' ? answeredElsewhere(verdict.receipt) : verdict
    onOutcome?.(code, call)
    const headers = Object.fromEntries(response.headers)
    return c.json({ outcome: 'answer', status: response.status, headers, body: await response.text() })
  })

  api.post('/:ticket/capture', async (c) => {
    const entry = openOf(c.req.param('ticket'), c.get('merchantId'))
    if (!entry?.charge.capture) return unknownTicket(c.req.param('ticket'))
    const parsed = captureSchema.safeParse(await c.req.json().catch(() => undefined))
    if (!parsed.success) return invalid('amountAtomic: must be a whole number of base units, as a decimal string')
    entry.captured ??= entry.charge.capture(BigInt(parsed.data.amountAtomic))
    const { amount, receipt } = await entry.captured
    return c.json({ amountAtomic: amount.toString(), headers: { 'payment-response': receipt } })
  })

  api.post('/:ticket/extend', async (c) => {
    const entry = openOf(c.req.param('ticket'), c.get('merchantId'))
    const parsed = extendSchema.safeParse(await c.req.json().catch(() => undefined))
    if (!entry?.charge.extend || entry.captured) return unknownTicket(c.req.param('ticket'))
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      return invalid(`${issue?.path.join('.')}: ${issue?.message}`)
    }
    // It is not over while it asks for more.
    open.set(c.req.param('ticket'), entry)
    const extended = entry.extending.then(() => extend(entry.charge, parsed.data))
    entry.extending = extended.catch(() => undefined)
    return c.json(await extended)
  })

  api.post('/:ticket/settle', async (c) => {
    const ticket = c.req.param('ticket')
    const entry = openOf(ticket, c.get('merchantId'))
    if (!entry?.charge.settle) return unknownTicket(ticket)
    if (!entry.settling) {
      entry.settling = settleTicket(entry.charge.settle)
      // Its time is that of settling, and then once more that of a report.
      open.set(ticket, entry, { ttl: 0 })
      const ended = () => void (open.has(ticket) && open.set(ticket, entry, { ttl: options.outcomeTimeoutMs }))
      entry.settling.then(ended, ended)
      const settled = await entry.settling
      if (settled.outcome === 'answer') onOutcome?.(settled.code, entry.call)
    }
    return c.json(await entry.settling)
  })

  api.post('/:ticket/:outcome{served|release}', async (c) => {
    const ticket = c.req.param('ticket')
    const entry = openOf(ticket, c.get('merchantId'))
    if (!entry) {
      if (c.req.param('outcome') === 'release') cancelled.set(`${c.get('merchantId')} ${ticket.slice(0, 64)}`, true)
      return unknownTicket(ticket)
    }
    const { charge, settling } = entry
    if (c.req.param('outcome') === 'served') {
      if (charge.settle && (await settling)?.outcome !== 'settled') return notSettled(ticket)
      open.delete(ticket)
      charge.served(undefined)
      onOutcome?.('served', entry.call)
      return c.json({ released: false })
    }
    open.delete(ticket)
    if (settling) {
      // Given up while it is settled: whoever paid is owed the answer.
      abandonCharge(charge, settling)
      onOutcome?.('broken', entry.call)
      return c.json({ released: false })
    }
    const released = await charge.release()
    onOutcome?.(released ? 'released' : 'broken', entry.call)
    return c.json({ released })
  })

  function openOf(ticket: string, merchantId: string): OpenTicket | undefined {
    const entry = open.get(ticket)
    return entry?.merchantId === merchantId ? entry : undefined
  }

  return api
}

async function extend(
  charge: ServedCharge,
  { amountAtomic, usedAtomic, segment }: z.output<typeof extendSchema>,
): Promise<Record<string, unknown>> {
  if (segment !== undefined && segment <= (charge.segments ?? 1)) {
    return { outcome: 'charged', headers: { 'payment-response': charge.receipt } }
  }
  const used = usedAtomic === undefined ? undefined : BigInt(usedAtomic)
  const extended = await charge.extend?.(BigInt(amountAtomic), used)
  if (extended?.ok) return { outcome: 'charged', headers: { 'payment-response': extended.receipt } }
  if (extended === undefined || !('requiredCumulative' in extended)) return { outcome: 'refused', code: extended?.code }
  return {
    outcome: 'exhausted',
    requiredCumulative: extended.requiredCumulative.toString(),
    acceptedCumulative: extended.acceptedCumulative.toString(),
  }
}

function invalid(detail: string): Response {
  return problem(400, 'request.invalid', 'The request is not valid.', { detail })
}

function notSettled(ticket: string): Response {
  return problem(409, 'ticket.not_settled', 'This charge is not settled, so nothing may be served for it.', {
    detail: `Ticket: ${ticket}`,
    hint: 'Ask POST /api/charges/:ticket/settle before the answer leaves.',
  })
}

/** The gateway itself has answered the same request before, as the proxy of another service. */
function answeredElsewhere(receipt: string): { code: string; response: Response } {
  const code = 'request.answered'
  const response = problem(409, code, 'This request was paid and answered before.', {
    hint: 'Pay anew to call again.',
    headers: { 'payment-response': receipt, 'cache-control': 'no-store' },
  })
  return { code, response }
}

function unknownTicket(ticket: string): Response {
  return problem(404, 'ticket.unknown', 'No open charge has this ticket.', { detail: `Ticket: ${ticket}` })
}
