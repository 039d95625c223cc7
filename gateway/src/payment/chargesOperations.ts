import { type ChargesOperation, fixedPricing } from '@protocolbanks/stream-protocol'
import type { z } from 'zod'
import { clientAddress } from '../owners/clientAddress.ts'
import type { ServiceTable } from '../services/serviceTable.ts'
import type { EndedCall } from '../tracing/logCall.ts'
import type { RequestTrace } from '../tracing/traceRequests.ts'
import { captureSchema, chargeSchema, extendSchema } from './chargeSchemas.ts'
import {
  answeredElsewhere,
  answerOf,
  type ChargesAnswer,
  invalid,
  notSettled,
  unknownService,
  unknownTicket,
  usedTicket,
} from './chargesAnswer.ts'
import { fingerprintOf } from './fingerprint.ts'
import { createOpenTickets, type OpenTicket } from './openTickets.ts'
import type { CaptureOutcome, PaymentGate, ServedCharge } from './paymentGate.ts'
import { abandonCharge, settleTicket } from './settleTicket.ts'

export type ChargesOperationsOptions = {
  gate: PaymentGate
  services: ServiceTable
  createTicketId(): string
  /** A charge whose outcome nobody reported within this time is over; see `abandonCharge`. */
  outcomeTimeoutMs: number
  /** How usage events name the client at an address. */
  hashClient?: ((address: string) => string | undefined) | undefined
  onOutcome?(outcome: string, call: EndedCall): void
}

export type ChargesCall = {
  merchantId: string
  /** Of the charge; that of a new one is in its body. */
  ticket: string
  /** JSON, as the merchant sent it. */
  body: string | undefined
  trace?: RequestTrace | undefined
}

/** What the charges API does, for whoever carries its JSON. Each throws what the gate throws: the meter may be gone. */
export type ChargesOperations = Readonly<Record<ChargesOperation, (call: ChargesCall) => Promise<ChargesAnswer>>>

/**
 * Payment for services that the merchant's own process serves (the SDK's middleware): `charge` asks whether to serve, `served` and
 * `release` report how it ended.
 *
 * Of a call that is priced by use `charge` holds the most. `capture {amountAtomic}` charges what it cost, once, and answers
 * `{amountAtomic, headers}` with the receipt; `served` follows. `extend {amountAtomic, usedAtomic?, segment?}` charges the next
 * segment of a stream and answers `{outcome: 'charged', heldAtomic, headers}`, or, until the next voucher has come,
 * `{outcome: 'exhausted', requiredCumulative, acceptedCumulative}`, or `{outcome: 'refused', code}`. A voucher for a stream comes
 * as a request of its own: `charge` with its PAYMENT-SIGNATURE answers `{outcome: 'answer', status: 204}`.
 *
 * Nobody is charged above what was offered, whatever the merchant asks for: a fixed price is captured at that price at most, and
 * has no segments; a segment is the offered amount at most, and a capture that amount times the segments charged.
 *
 * What was charged with `settleSeconds` has not been paid yet. `settle`, which takes as long at most, answers `{outcome: 'settled',
 * headers}`, and `served` follows; or `{outcome: 'answer', status, headers, body}`, which the client gets in the place of what the
 * handler answered. Asked again it answers the same.
 */
export function createChargesOperations(options: ChargesOperationsOptions): ChargesOperations {
  const { gate, services, createTicketId, outcomeTimeoutMs, onOutcome } = options
  const open = createOpenTickets(outcomeTimeoutMs)

  async function charge({ merchantId, body, trace }: ChargesCall): Promise<ChargesAnswer> {
    const parsed = chargeSchema.safeParse(parseJson(body))
    if (!parsed.success) return invalid(issueOf(parsed.error))
    const { service: name, method, url, bodyHash, paymentSignature, clientAddress: remote } = parsed.data
    const find = () => services.byName(merchantId, name)
    const service = find() ?? (await services.findAnew(find))
    if (!service) return unknownService(name)
    const { amountAtomic, holdAtomic } = parsed.data
    const amount = amountAtomic === undefined ? service.price : BigInt(amountAtomic)
    const pricing = parsed.data.pricing ?? (amountAtomic === undefined ? service.pricing : fixedPricing)
    const hold = holdAtomic === undefined ? amount : BigInt(holdAtomic)
    if (hold > amount) return invalid(`holdAtomic: ${hold} is above the price of ${amount}`)
    const charging = trace?.child('charge')
    const verdict = await gate.authorize({
      service,
      amount,
      hold,
      pricing,
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
    if (verdict.kind !== 'serve') {
      const { code, response } = verdict.kind === 'replay' ? answeredElsewhere(verdict.receipt) : verdict
      onOutcome?.(code, call)
      const headers = Object.fromEntries(response.headers)
      return answerOf({ outcome: 'answer', status: response.status, headers, body: await response.text() })
    }
    const ticket = parsed.data.ticket ?? createTicketId()
    if (open.isUsed(ticket, merchantId)) {
      await verdict.charge.release()
      return usedTicket(ticket)
    }
    call.ticket = verdict.charge.ticket
    const { kind } = pricing ?? fixedPricing
    const entry: OpenTicket = { merchantId, charge: verdict.charge, call, amount, isByUse: kind !== 'call' }
    const { settle, settleSeconds, receipt } = verdict.charge
    if (settle) {
      // Its handler may take as long as the offer has counted on.
      open.keep(ticket, entry, Math.max(outcomeTimeoutMs, service.upstreamTimeoutMs))
      return answerOf({ outcome: 'charged', ticket, headers: {}, settleSeconds })
    }
    open.keep(ticket, entry)
    return answerOf({ outcome: 'charged', ticket, headers: { 'payment-response': receipt } })
  }

  async function capture({ ticket, merchantId, body }: ChargesCall): Promise<ChargesAnswer> {
    const entry = open.find(ticket, merchantId)
    if (!entry?.charge.capture) return unknownTicket(ticket)
    const parsed = captureSchema.safeParse(parseJson(body))
    if (!parsed.success) return invalid('amountAtomic: must be a whole number of base units, as a decimal string')
    const asked = BigInt(parsed.data.amountAtomic)
    // A segment that is being charged counts.
    entry.captured ??= entry.extending?.then(() => captureOf(entry, asked)) ?? captureOf(entry, asked)
    const { amount, receipt } = await entry.captured
    return answerOf({ amountAtomic: amount.toString(), headers: { 'payment-response': receipt } })
  }

  async function extend({ ticket, merchantId, body }: ChargesCall): Promise<ChargesAnswer> {
    const entry = open.find(ticket, merchantId)
    if (!entry?.charge.extend || entry.captured) return unknownTicket(ticket)
    const parsed = extendSchema.safeParse(parseJson(body))
    if (!parsed.success) return invalid(issueOf(parsed.error))
    if (!entry.isByUse)
      return invalid(`amountAtomic: the price of ${entry.amount} is fixed, so it has no more segments`)
    // It is not over while it asks for more.
    open.keep(ticket, entry)
    const extended = (entry.extending ?? Promise.resolve()).then(() => extendBy(entry, parsed.data))
    entry.extending = extended.catch(() => undefined)
    return answerOf(await extended)
  }

  async function settle({ ticket, merchantId }: ChargesCall): Promise<ChargesAnswer> {
    const entry = open.find(ticket, merchantId)
    if (!entry?.charge.settle) return unknownTicket(ticket)
    if (!entry.settling) {
      entry.settling = settleTicket(entry.charge.settle)
      // Its time is that of settling, and then once more that of a report.
      open.keep(ticket, entry, 0)
      const ended = () => void (open.has(ticket) && open.keep(ticket, entry))
      entry.settling.then(ended, ended)
      const settled = await entry.settling
      if (settled.outcome === 'answer') onOutcome?.(settled.code, entry.call)
    }
    return answerOf(await entry.settling)
  }

  async function served({ ticket, merchantId }: ChargesCall): Promise<ChargesAnswer> {
    const entry = open.find(ticket, merchantId)
    if (!entry) return unknownTicket(ticket)
    if (entry.charge.settle && (await entry.settling)?.outcome !== 'settled') return notSettled(ticket)
    open.end(ticket)
    entry.charge.served(undefined)
    onOutcome?.('served', entry.call)
    return answerOf({ released: false })
  }

  async function release({ ticket, merchantId }: ChargesCall): Promise<ChargesAnswer> {
    const entry = open.find(ticket, merchantId)
    if (!entry) {
      open.cancel(ticket, merchantId)
      return unknownTicket(ticket)
    }
    open.end(ticket)
    if (entry.settling) {
      // Given up while it is settled: whoever paid is owed the answer.
      abandonCharge(entry.charge, entry.settling)
      onOutcome?.('broken', entry.call)
      return answerOf({ released: false })
    }
    const released = await entry.charge.release()
    onOutcome?.(released ? 'released' : 'broken', entry.call)
    return answerOf({ released })
  }

  return { charge, capture, extend, settle, served, release }
}

/** Charges what a call cost, and never more than it was offered for. @throws what the charge says */
async function captureOf({ charge, amount, isByUse }: OpenTicket, asked: bigint): Promise<CaptureOutcome> {
  if (!charge.capture) throw new Error('A charge that is settled is not captured.')
  const most = isByUse ? amount * BigInt(charge.segments ?? 1) : amount
  return charge.capture(smaller(asked, most))
}

async function extendBy(
  { charge, amount }: OpenTicket,
  { amountAtomic, usedAtomic, segment }: z.output<typeof extendSchema>,
): Promise<Record<string, unknown>> {
  if (segment !== undefined && segment <= (charge.segments ?? 1)) return held(charge)
  const used = usedAtomic === undefined ? undefined : BigInt(usedAtomic)
  const extended = await charge.extend?.(smaller(BigInt(amountAtomic), amount), used)
  if (extended?.ok) return held(charge)
  if (extended === undefined || !('requiredCumulative' in extended)) return { outcome: 'refused', code: extended?.code }
  return {
    outcome: 'exhausted',
    requiredCumulative: extended.requiredCumulative.toString(),
    acceptedCumulative: extended.acceptedCumulative.toString(),
  }
}

function held({ held: heldAtomic, receipt }: ServedCharge): Record<string, unknown> {
  return { outcome: 'charged', heldAtomic: heldAtomic?.toString(), headers: { 'payment-response': receipt } }
}

/** Undefined when it is none: then it is not what the operation asks for. */
function parseJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text)
  } catch {
    return undefined
  }
}

function issueOf({ issues: [issue] }: z.ZodError): string {
  return `${issue?.path.join('.')}: ${issue?.message}`
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
