import { BaseError, formatAmount } from '@protocolbanks/stream-protocol'
import type { Refusal } from './answer.ts'
import type { Dispute, LimitName } from './ledger.ts'

/** A limit of the agent's own, or the grant's total, forbids this call: nothing was signed. */
export class LimitExceededError extends BaseError {
  override readonly code = 'agent.limit_exceeded'
  readonly limit: LimitName | 'budget'
  readonly limitAtomic: bigint
  /** What the limit would have to be for this call. */
  readonly neededAtomic: bigint
  /** Whose limit it is, when it is one of `perHost`. */
  readonly host: string | undefined
  constructor(p: {
    url: string
    limit: LimitName | 'budget'
    limitAtomic: bigint
    neededAtomic: bigint
    decimals: number
    host?: string | undefined
  }) {
    const { what, next } = limitWords[p.limit]
    super(`The call would go above ${what}${p.host === undefined ? '' : ` for ${p.host}`}.`, {
      metaMessages: [
        `URL: ${p.url}`,
        `Limit: ${amountText(p.limitAtomic, p.decimals)}`,
        `Needed: ${amountText(p.neededAtomic, p.decimals)}`,
        next,
      ],
      docsPath: '/errors#agent-limit-exceeded',
    })
    this.limit = p.limit
    this.host = p.host
    this.limitAtomic = p.limitAtomic
    this.neededAtomic = p.neededAtomic
  }
}

const limitWords: Record<LimitName | 'budget', { what: string; next: string }> = {
  maxPerCall: { what: "the agent's maxPerCall", next: 'Call a cheaper service, or raise limits.maxPerCall.' },
  maxPerStream: { what: "the agent's maxPerStream", next: 'Raise limits.maxPerStream to let a stream go on longer.' },
  budget: {
    what: "the agent's budget",
    next: 'Make a new paying fetch with a budget of its own, or raise limits.budget.',
  },
  maxTotal: { what: "the agent's maxTotal", next: 'Raise limits.maxTotal to spend more.' },
  maxPerHour: {
    what: "the agent's maxPerHour",
    next: 'Wait until earlier calls are an hour old, or raise limits.maxPerHour.',
  },
  grantTotalLimit: {
    what: "the grant's total limit",
    next: 'Ask the owner for a new grant: the terms of one never change.',
  },
}

/** `limits.allowedHosts` does not name the host that asks for a payment: nothing was signed. */
export class HostNotAllowedError extends BaseError {
  override readonly code = 'agent.host_not_allowed'
  constructor(p: { host: string; allowedHosts: readonly string[] }) {
    super('The agent may not pay this host.', {
      metaMessages: [
        `Host: ${p.host}`,
        `Allowed: ${p.allowedHosts.join(', ') || 'none'}`,
        'Add it to limits.allowedHosts if it shall be paid.',
      ],
      docsPath: '/errors#agent-host-not-allowed',
    })
  }
}

/** `confirm` said no: nothing was signed. */
export class PaymentDeclinedError extends BaseError {
  override readonly code = 'agent.declined'
  constructor(p: { url: string; payee: string; priceAtomic: bigint; decimals: number }) {
    super('The payment was not confirmed.', {
      metaMessages: [
        `URL: ${p.url}`,
        `Payee: ${p.payee}`,
        `Price: ${amountText(p.priceAtomic, p.decimals)}`,
        'Whoever confirms payments for this agent has to agree before the call is made again.',
      ],
      docsPath: '/errors#agent-declined',
    })
  }
}

/** The gateway refused the payment; the call was not charged, unless its code is `request.in_progress`. */
export class PaymentRefusedError extends BaseError {
  override readonly code: string
  override readonly retryable: boolean
  readonly status: number
  readonly title: string
  readonly hint: string | undefined
  /** When the gateway says to try again. */
  readonly retryAfterSeconds: number | undefined
  constructor(p: { url: string; refusal: Refusal; retryable: boolean; retryAfterSeconds: number | undefined }) {
    const { status, code, problem, required } = p.refusal
    const title = problem?.title ?? required?.error ?? 'The payment was refused.'
    super(title, {
      metaMessages: [
        `URL: ${p.url}`,
        `Code: ${code}`,
        `Status: ${status}`,
        ...(problem?.detail ? [problem.detail] : []),
        ...(problem?.hint ? [problem.hint] : []),
        ...(p.retryAfterSeconds === undefined ? [] : [`Try again in ${p.retryAfterSeconds} s.`]),
      ],
      docsPath: `/errors#${code.replaceAll(/[._]/g, '-')}`,
    })
    this.code = code
    this.retryable = p.retryable
    this.status = status
    this.title = title
    this.hint = problem?.hint
    this.retryAfterSeconds = p.retryAfterSeconds
  }
}

/** The gateway says it charged more than was allowed. Nothing more is signed for this payee in this process. */
export class ChargeDisputedError extends BaseError {
  override readonly code = 'charge.disputed'
  /** What the gateway says it charged; undefined when an earlier call found that out. */
  readonly chargedAtomic: bigint | undefined
  /** The price of the call, or the highest voucher this process knows of. */
  readonly allowedAtomic: bigint | undefined
  constructor(p: { url: string; payee: string; dispute: Dispute | undefined; decimals: number }) {
    super('The service claims more than it was allowed to charge.', {
      metaMessages: [
        `URL: ${p.url}`,
        `Payee: ${p.payee}`,
        ...(p.dispute
          ? [
              `Charged ${p.dispute.of === 'call' ? 'for this call' : 'in total'}: ${amountText(p.dispute.chargedAtomic, p.decimals)}`,
              `${p.dispute.of === 'call' ? 'Price' : 'Highest voucher'}: ${amountText(p.dispute.allowedAtomic, p.decimals)}`,
            ]
          : ['An earlier call found this out; no further voucher is signed for the payee.']),
        'One grant serves one process: if another one spends from it, give each its own. Else ask the merchant.',
      ],
      docsPath: '/errors#charge-disputed',
    })
    this.chargedAtomic = p.dispute?.chargedAtomic
    this.allowedAtomic = p.dispute?.allowedAtomic
  }
}

/** A redirect leads a payment to where it must not go, or to where the browser does not show. */
export class PaymentRedirectedError extends BaseError {
  override readonly code = 'payment.redirected'
  constructor(p: { from: string; to: string | undefined }) {
    super('A redirect stands between the call and its payment.', {
      metaMessages: [
        `From: ${p.from}`,
        `To: ${p.to ?? 'not shown by this browser'}`,
        'Call the final URL directly: a payment never follows a redirect to somewhere else.',
      ],
      docsPath: '/errors#payment-redirected',
    })
  }
}

function amountText(amountAtomic: bigint, decimals: number): string {
  return `${formatAmount(amountAtomic, decimals)} (${amountAtomic} base units)`
}
