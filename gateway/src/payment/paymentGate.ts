import {
  createVoucherHasher,
  fixedPricing,
  type GrantSource,
  type PaymentRequirements,
  type Pricing,
  verifyVoucher,
} from '@protocolbanks/stream-protocol'
import { formatTraceparent, type TraceContext } from '@protocolbanks/stream-runtime'
import type { Answer, AnswerStore, Outcome } from '../answers/answerStore.ts'
import { creditLimitsOf, type OperatorCredit } from '../exposure/creditLimitsOf.ts'
import type { GrantDirectory, KnownGrant } from '../grants/grantDirectory.ts'
import type { ChannelMeter, Decision, Meter, ReachedLimit, Ticket, Use } from '../meter/meter.ts'
import { problem } from '../problem.ts'
import type { Service } from '../services/serviceTable.ts'
import { type Chain, networkOf } from './chain.ts'
import type { ReceiptSigner } from './createReceiptSigner.ts'
import { createReceiptWriter } from './createReceiptWriter.ts'
import { describeLimit } from './describeLimit.ts'
import { createMeteredCharge } from './meteredCharge.ts'
import { refusePayment, sessionRequirements } from './offer.ts'
import { readPayment } from './readPayment.ts'
import type { PaymentRefusal } from './refusals.ts'
import { serveCharge } from './serveCharge.ts'
import type { ServedCharge } from './servedCharge.ts'
import { createVoucherWaiters } from './voucherWaiters.ts'

export type { CaptureOutcome, ExtendOutcome, ServedCharge, Settled } from './servedCharge.ts'

/** A call of a paid service, as the gate sees it. */
export type PaidRequest = {
  service: Service
  /** Price of this call, base units; of one that is priced by use the most that it holds. */
  amount: bigint
  /** What it holds, where the request bounds what it can use; `amount` when left out. */
  hold?: bigint | undefined
  /** How it is priced, where that is not as the service is. */
  pricing?: Pricing | undefined
  /** The resource, absolute. */
  url: string
  /** PAYMENT-SIGNATURE as received. */
  payment: string | undefined
  /** Hash of what is asked for; only computed when there is a payment. */
  fingerprint(): string
  /** Where the request belongs. */
  trace?: TraceContext | undefined
  /** Where the request came from, see clients/clientHasher.ts. */
  client?: string | undefined
  /** Who serves the call settles it before it answers; without that only our own scheme is offered. */
  settles?: true | undefined
  /** Who serves the call keeps its answer too: a retry does not wait here for one. */
  keepsAnswers?: true | undefined
  /** Another header of the request, by its name in lower case. */
  header?(name: string): string | undefined
  /** Of the body, as RFC 9530 writes it; undefined when there is none, or none that is buffered. */
  digest?(): string | undefined
}

export type Verdict =
  | { kind: 'serve'; charge: ServedCharge }
  /** The same request was answered before. */
  | { kind: 'replay'; answer: Answer; receipt: string }
  /** It is not served: refused, or no more than a voucher for a stream that runs (code `voucher`, 204). */
  | { kind: 'refused'; code: string; response: Response }

/** Schemes beside ours. */
export type OtherSchemes = {
  /** What `accepts` offers after ours, for one call. */
  offer(request: PaidRequest): PaymentRequirements[]
  /** Undefined when the payment is of no scheme that is offered. */
  authorize(request: PaidRequest, payment: string): Promise<Verdict | undefined>
}

export type PaymentGate = { authorize(request: PaidRequest): Promise<Verdict> }

export type PaymentGateDeps = {
  chain: Chain
  meter: Meter
  grants: GrantDirectory
  answers: AnswerStore
  /** Copies an account from Postgres to the meter. False when Postgres does not know it. */
  mirrorAccount(account: KnownGrant['account']): Promise<boolean>
  /** How old the mirror of the chain is. */
  chainAgeMs(): number
  maxChainAgeMs: number
  /** Of this process, in the meter. */
  instance: string
  settlementMarginSeconds: number
  /** What the operator lets grants and accounts owe on credit; nothing limits them when it is left out. */
  operatorCredit?: OperatorCredit
  /** Moves room under the limit of the service's merchant to where it was refused. True: charge again. */
  makeRoom?(service: Service): Promise<boolean>
  otherSchemes?: OtherSchemes | undefined
  /** Signs what paid answers carry; without one they carry no signature. */
  receiptSigner?: ReceiptSigner | undefined
  /** A charge was refused because of this limit. */
  onLimit?: ((limit: ReachedLimit) => void) | undefined
  /** How long a retry waits for the first request to end. */
  retryWaitMs: number
  now(): number
  /** Named places where a test ends the process. */
  crashPoint?: ((name: string) => void) | undefined
}

/** Steps 2 and 3 of the path of one request (docs/architecture.md): parse, verify, charge. */
export function createPaymentGate(deps: PaymentGateDeps): PaymentGate {
  const { chain, meter, grants, answers, operatorCredit = {}, crashPoint = () => {} } = deps
  const hashVoucher = createVoucherHasher(chain)
  const writeReceipt = createReceiptWriter(networkOf(chain), deps.receiptSigner)

  const vouchers = createVoucherWaiters()

  /** Of each service the offer that was compared last; the table of services brings new ones when something changed. */
  const offers = new WeakMap<Service, { amount: bigint; pricing: Pricing | undefined; offer: PaymentRequirements }>()

  function offerOf({ service, amount, pricing }: PaidRequest): PaymentRequirements {
    const known = offers.get(service)
    if (known?.amount === amount && known.pricing === pricing) return known.offer
    const offer = sessionRequirements(chain, service, amount, pricing)
    offers.set(service, { amount, pricing, offer })
    return offer
  }

  async function authorize(request: PaidRequest): Promise<Verdict> {
    const { service, amount } = request
    if (request.payment === undefined) return refuse(request, 'payment.required')

    const read = readPayment(request.payment, offerOf(request))
    if (!read.ok) {
      const other = read.code === 'scheme.unsupported' && (await deps.otherSchemes?.authorize(request, request.payment))
      if (other) return other
      return read.code === 'payment.malformed' ? malformed(read.detail) : refuse(request, read.code)
    }
    const { requestId, payeeProof, voucherFor, ...signed } = read.payment

    const ageMs = deps.chainAgeMs()
    if (ageMs > deps.maxChainAgeMs) return stale(ageMs)

    const grant = await grants.find(signed.grantId)
    if (!grant) return refuse(request, 'grant.unknown')
    if (grant.token !== service.token) return refuse(request, 'payment.wrong_token')
    const voucher = { ...signed, payee: service.payee }
    const verified = verifyVoucher(hashVoucher, voucher, grant.sessionKey, grant.publicKey)
    if (!verified) return refuse(request, 'voucher.invalid_signature')
    grant.publicKey = verified.publicKey
    if (!(await grants.admit(grant, service.payee, service.merchantId, payeeProof))) {
      return refuse(request, 'payee.not_granted')
    }

    const use: Use = {
      account: grant.account,
      grantId: voucher.grantId,
      payee: voucher.payee,
      amount: request.hold ?? amount,
      cumulativeAmount: voucher.cumulativeAmount,
      requestId,
      fingerprint: request.fingerprint(),
      nowMs: deps.now(),
      maxAmountPerCall: service.maxAmountPerCall,
      maxCallsPerMinute: service.maxCallsPerMinute,
      maxCallsPerHour: service.maxCallsPerHour,
      maxCallsPerDay: service.maxCallsPerDay,
      maxAmountPerMinute: service.maxAmountPerMinute,
      maxAmountPerHour: service.maxAmountPerHour,
      maxAmountPerDay: service.maxAmountPerDay,
      credit: creditLimitsOf(service.credit, operatorCredit),
      settlementMarginSeconds: deps.settlementMarginSeconds,
      event: {
        service: service.id,
        merchant: service.merchantId,
        signature: voucher.signature,
        trace: request.trace && formatTraceparent(request.trace),
        client: request.client,
      },
    }
    if (voucherFor !== undefined) return takeVoucher(request, use, voucherFor)
    crashPoint('charge.before')
    const decision = await chargeMirrored(use, service)
    if (decision.ok) crashPoint('charge.after')
    const paid = { ...request, source: grant.source }
    if (decision.ok) {
      const { ticket, channel } = decision
      return serve(paid, { use, ticket, channel, isRepeat: false }, answers.begin(keyOf(ticket)))
    }
    if (decision.code === 'request.duplicate') return repeat({ ...paid, trace: undefined }, use, decision)
    if (decision.limit !== undefined) deps.onLimit?.(decision.limit)
    const channel = decision.channel && { grantId: grant.grantId, ...decision.channel }
    return refuse(request, decision.code, channel, decision.limit)
  }

  /**
   * Charges; a grant that the meter does not hold yet, or has lost, is copied there from Postgres first. What one partition
   * of the meter has no budget for is charged when another's could be moved there.
   */
  async function chargeMirrored(use: Use, service: Service): Promise<Decision> {
    let decision = await meter.charge(use)
    // Again when the meter was rebuilt in between: a copy for the one before is not taken.
    for (let tries = 0; tries < maxMirrorTries && !decision.ok && decision.code === 'grant.unknown'; tries++) {
      if (!(await deps.mirrorAccount(use.account))) break
      decision = await meter.charge(use)
    }
    for (let tries = 0; tries < maxRoomTries && !decision.ok && 'limit' in decision; tries++) {
      if (decision.limit !== 'merchant' || !(await deps.makeRoom?.(service))) break
      decision = await meter.charge(use)
    }
    return decision
  }

  /** The next voucher of a stream that runs, here or in another process: what is authorised rises, nothing is charged. */
  async function takeVoucher(request: PaidRequest, use: Use, voucherFor: string): Promise<Verdict> {
    // Clients cannot choose such an id. A charge of nothing, taken back, leaves its voucher.
    const requestId = `${voucherFor}~v${use.cumulativeAmount}`
    const decision = await chargeMirrored({ ...use, amount: 0n, requestId }, request.service)
    if (!decision.ok && decision.code !== 'request.duplicate') {
      if (decision.limit !== undefined) deps.onLimit?.(decision.limit)
      return refuse(request, decision.code, decision.channel && { grantId: use.grantId, ...decision.channel })
    }
    if (decision.ok) {
      const released = await meter.capture(decision.ticket, 0n).catch(() => undefined)
      if (!released?.ok) meter.served(decision.ticket)
    }
    vouchers.wake(channelOf(use))
    return voucherTaken()
  }

  /** A request id that was charged before: the first answer, or the call once more when it was never answered. */
  async function repeat(
    request: ChargedRequest,
    use: Use,
    first: Extract<Decision, { code: 'request.duplicate' }>,
  ): Promise<Verdict> {
    const { ticket, channel, instance } = first
    const key = keyOf(ticket)
    const charged = { use, ticket, channel, isRepeat: true }
    if (instance !== deps.instance) {
      const adopted = await meter.adopt({ ...ticket, from: instance })
      // While the other process lives it may be serving the call; when it is gone, a later retry is served here.
      return adopted ? serve(request, charged, answers.begin(key)) : inProgress(ticket, adoptionSeconds)
    }
    const outcome = await answers.find(key, deps.retryWaitMs)
    if (outcome === 'pending' || (outcome !== undefined && outcome.state === 'released')) return inProgress(ticket)
    if (outcome?.state === 'kept') {
      return { kind: 'replay', answer: outcome.answer, receipt: receiptOf(request, costOf(ticket, outcome), channel) }
    }
    const finish = outcome?.state === 'broken' ? answers.resume(key) : undefined
    return finish ? serve(request, charged, finish) : answered(request, costOf(ticket, outcome), channel)
  }

  function serve(
    request: ChargedRequest,
    { use, ticket, channel, isRepeat }: { use: Use; ticket: Ticket; channel: ChannelMeter; isRepeat: boolean },
    finish: (outcome: Outcome) => void,
  ): Verdict {
    const { instance } = deps
    const { kind } = request.pricing ?? request.service.pricing ?? fixedPricing
    const charge = serveCharge({
      meter,
      ticket,
      channel,
      finish,
      mayHaveSegments: isRepeat && kind !== 'call',
      createMetered: () =>
        createMeteredCharge({
          meter,
          use,
          ticket,
          channel,
          instance,
          isRepeat,
          // By the unit only a merchant's own server streams; what is proxied counts as a whole.
          isPaidInPart: kind !== 'call' && (kind !== 'unit' || request.keepsAnswers === true),
          charge: (segment) => chargeMirrored({ ...segment, nowMs: deps.now() }, request.service),
        }),
      writeReceipt: (charged, counted) => receiptOf(request, charged, counted),
      untilVoucher: (ms) => vouchers.wait(channelOf(ticket), ms),
      onServed() {
        // Once the answer is on its way.
        if (deps.crashPoint) setImmediate(() => crashPoint('charge.served'))
      },
    })
    return { kind: 'serve', charge }
  }

  function refuse(
    request: PaidRequest,
    code: PaymentRefusal,
    channel?: { grantId: string } & ChannelMeter,
    limit?: ReachedLimit,
  ): Verdict {
    const { service, amount, pricing, url } = request
    const reached = limit && describeLimit(limit, deps.now())
    const refusal = {
      code,
      service,
      amount,
      pricing,
      url,
      channel,
      ...reached,
      others: deps.otherSchemes?.offer(request),
    }
    return { kind: 'refused', code, response: refusePayment(chain, refusal) }
  }

  function receiptOf({ service, source, trace }: ChargedRequest, ticket: Ticket, channel: ChannelMeter): string {
    return writeReceipt({ ticket, channel, service: service.id, source, traceId: trace?.traceId })
  }

  function answered(request: ChargedRequest, ticket: Ticket, channel: ChannelMeter): Verdict {
    const response = problem(409, 'request.answered', 'This request was paid and answered before.', {
      detail: `Request id ${ticket.requestId} was charged ${ticket.amount}; its answer is not kept here any more.`,
      hint: 'Use a new request id to call again.',
      headers: { 'payment-response': receiptOf(request, ticket, channel) },
    })
    return { kind: 'refused', code: 'request.answered', response }
  }

  return { authorize }
}

/** The first is the usual one. */
const maxMirrorTries = 3
/** Others may take what was moved for this request. */
const maxRoomTries = 2

/** With the source of the grant that pays for it. */
type ChargedRequest = PaidRequest & { source: GrantSource }

function malformed(detail: string): Verdict {
  const code = 'payment.malformed'
  const response = problem(400, code, 'The payment cannot be read.', {
    detail,
    hint: 'Send what the 402 of this service asks for.',
  })
  return { kind: 'refused', code, response }
}

function stale(ageMs: number): Verdict {
  const code = 'chain.stale'
  const response = problem(503, code, 'The chain has not been seen for too long to serve paid calls.', {
    detail: `Last seen ${Math.round(ageMs / 1000)} s ago.`,
    hint: 'Repeat the request with the same id.',
    headers: { 'retry-after': '5' },
  })
  return { kind: 'refused', code, response }
}

/** After this a process that says nothing is taken to be gone, and its charges may be adopted. */
const adoptionSeconds = 10

function inProgress(ticket: Ticket, retryAfterSeconds = 1): Verdict {
  const code = 'request.in_progress'
  const response = problem(409, code, 'This request is still being served.', {
    detail: `Request id ${ticket.requestId}`,
    hint: 'Repeat the request with the same id.',
    headers: { 'retry-after': `${retryAfterSeconds}` },
  })
  return { kind: 'refused', code, response }
}

function voucherTaken(): Verdict {
  const response = new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
  return { kind: 'refused', code: 'voucher', response }
}

function channelOf({ grantId, payee }: Pick<Ticket, 'grantId' | 'payee'>): string {
  return `${grantId}:${payee}`.toLowerCase()
}

/** With what the request cost in all. */
function costOf(ticket: Ticket, outcome: Outcome | undefined): Ticket {
  const amount = outcome && 'amount' in outcome ? outcome.amount : undefined
  return amount === undefined ? ticket : { ...ticket, amount }
}

function keyOf({ grantId, payee, requestId }: Ticket): string {
  return `${grantId}:${payee}:${requestId}`
}
