import {
  BundlerUnavailableError,
  SponsorshipRefusedError,
  SponsorUnavailableError,
} from '@protocolbanks/stream-bundler-client'
import type { FailureReason } from '@protocolbanks/stream-db'
import { BaseError } from '@protocolbanks/stream-protocol'
import { ChainUnavailableError, UnpayableError } from './errors.ts'

/** What becomes of a settlement whose look ended with an error, and why. */
export type Next = { reason: FailureReason } & (
  | { do: 'wait'; ms: number }
  | { do: 'postpone'; ms: number }
  | { do: 'retry'; ms: number }
  | { do: 'giveUp' }
)

export type Tries = {
  /** Failed attempts before this. */
  attempts: number
  /** Looks in a row that found it unpayable. */
  waits: number
}

export type RetryPolicy = {
  /** Of the first retry, milliseconds; each further one is four times as long. */
  baseMs: number
  maxAttempts: number
  nowMs: number
  /** 0 to 1, spreads retries by up to a quarter. */
  random(): number
}

type Rule = {
  reason: FailureReason
  /**
   * wait: something we stand on is gone, or time has to pass; the state stays as it is. postpone: it cannot be paid for
   * now, and is looked at again from `baseMs` on ever more rarely, or when the mirror shows that it can. Neither counts an
   * attempt. retry: the attempt failed, another can succeed. giveUp: none can; an operator decides.
   */
  next: 'wait' | 'postpone' | 'retry' | 'giveUp'
  baseMs?: number
}

const unavailableMs = 2_000
const busyMs = 3_000
const payableMs = 30_000
const feeMs = 15_000
const budgetMs = 300_000
const maxPostponedMs = 900_000

/** By code: the one place that knows what each means for a settlement. */
const rules: Readonly<Record<string, Rule>> = {
  'bundler.receipt_timeout': { reason: 'unavailable', next: 'wait', baseMs: 0 },
  'claim.allowance': { reason: 'allowance_gone', next: 'postpone' },
  'claim.balance': { reason: 'balance_too_low', next: 'postpone' },
  'claim.reserve': { reason: 'reserve_empty', next: 'postpone' },
  'claim.period_limit': { reason: 'limit_reached', next: 'postpone' },
  'claim.total_limit': { reason: 'limit_reached', next: 'giveUp' },
  'claim.payee_blocked': { reason: 'payee_blocked', next: 'postpone' },
  'claim.account_blocked': { reason: 'account_blocked', next: 'postpone' },
  'claim.token_refuses': { reason: 'token_refuses', next: 'postpone' },
  // Happens once: after the first attempt every claim has its proof.
  'claim.payee_not_known': { reason: 'voucher_invalid', next: 'retry', baseMs: 0 },
  'grant.frozen': { reason: 'grant_frozen', next: 'postpone' },
  'grant.revoked': { reason: 'grant_ended', next: 'giveUp' },
  'grant.expired': { reason: 'grant_ended', next: 'giveUp' },
  'grant.unknown': { reason: 'grant_ended', next: 'giveUp' },
  'voucher.signature': { reason: 'voucher_invalid', next: 'giveUp' },
  'voucher.proof': { reason: 'voucher_invalid', next: 'giveUp' },
  'voucher.amount': { reason: 'voucher_invalid', next: 'giveUp' },
  'settlement.empty': { reason: 'voucher_invalid', next: 'giveUp' },
  'settlement.other_settler': { reason: 'not_ours', next: 'giveUp' },
  'settlement.other_token': { reason: 'not_ours', next: 'giveUp' },
  'settlement.reverted': { reason: 'reverted', next: 'retry' },
  'settlements.too_large': { reason: 'gas_limits', next: 'retry' },
  'paymaster.deposit': { reason: 'paymaster_deposit', next: 'postpone' },
  'paymaster.validation': { reason: 'sponsorship_refused', next: 'retry' },
  'sponsor.budget_exceeded': { reason: 'paymaster_budget', next: 'postpone', baseMs: budgetMs },
  'sponsor.fee_above_limit': { reason: 'fees_too_high', next: 'postpone', baseMs: feeMs },
  // The chain says that the grant is live: the paymaster's mirror of it is behind.
  'sponsor.grant_unknown': { reason: 'sponsorship_refused', next: 'retry' },
  'sponsor.grant_not_live': { reason: 'sponsorship_refused', next: 'retry' },
  'transaction.fee_above_limit': { reason: 'fees_too_high', next: 'postpone', baseMs: feeMs },
  'transaction.lost': { reason: 'nonce_used', next: 'retry' },
  'operation.nonce_used': { reason: 'nonce_used', next: 'retry' },
  'bundler.nonce': { reason: 'nonce_used', next: 'retry' },
  // An earlier version is in a bundle: it is included, or the bundler lets the nonce go.
  'bundler.nonce_busy': { reason: 'nonce_used', next: 'wait', baseMs: busyMs },
  'bundler.dropped': { reason: 'dropped', next: 'retry' },
  'bundler.expired': { reason: 'sponsorship_expired', next: 'retry' },
  'bundler.fee_too_low': { reason: 'fees_too_low', next: 'retry' },
  'bundler.gas_too_low': { reason: 'gas_limits', next: 'retry' },
  'bundler.gas_too_high': { reason: 'gas_limits', next: 'giveUp' },
  // The chain names no reason why it would: the bundler simulated on a block that is being taken back, or of a node behind.
  'bundler.reverted': { reason: 'reverted', next: 'retry' },
  'bundler.throttled': { reason: 'bundler_refused', next: 'retry' },
  'account.unknown': { reason: 'account_unknown', next: 'giveUp' },
  'account.not_deployed': { reason: 'account_unknown', next: 'giveUp' },
}

/** Whether the settlement waits, is tried again or is given up, and the reason from the closed list. */
export function decideNext(error: unknown, { attempts, waits }: Tries, policy: RetryPolicy): Next {
  const { baseMs, maxAttempts, random } = policy
  const spread = (ms: number) => Math.round(ms * (1 + random() / 4))
  const { reason, next, ...rule } = ruleOf(error)
  switch (next) {
    case 'wait':
      return { do: 'wait', reason, ms: spread(rule.baseMs ?? unavailableMs) }
    case 'postpone': {
      const ms = Math.min((rule.baseMs ?? payableMs) * 2 ** Math.min(waits, 16), maxPostponedMs)
      return { do: 'postpone', reason, ms: Math.min(spread(ms), untilPeriodEnds(error, policy.nowMs)) }
    }
    case 'retry':
      if (rule.baseMs === undefined && attempts + 1 >= maxAttempts) return { do: 'giveUp', reason }
      return { do: 'retry', reason, ms: spread(rule.baseMs ?? baseMs * 4 ** attempts) }
    case 'giveUp':
      return { do: 'giveUp', reason }
  }
}

function ruleOf(error: unknown): Rule {
  if (!(error instanceof BaseError)) return { reason: 'internal', next: 'retry' }
  if (isUnavailable(error)) return { reason: 'unavailable', next: 'wait' }
  const rule = rules[error.code]
  if (rule) return rule
  return { reason: reasonOfPrefix(error.code), next: error.retryable ? 'retry' : 'giveUp' }
}

function isUnavailable(error: BaseError): boolean {
  return (
    error instanceof BundlerUnavailableError ||
    error instanceof SponsorUnavailableError ||
    error instanceof ChainUnavailableError ||
    (error instanceof SponsorshipRefusedError && error.refusal === 'sponsor.unavailable')
  )
}

/** Codes that others add, e.g. another paymaster's. */
function reasonOfPrefix(code: string): FailureReason {
  if (code.startsWith('sponsor.')) return 'sponsorship_refused'
  if (code.startsWith('account.')) return 'account_refused'
  if (code.startsWith('bundler.')) return 'bundler_refused'
  return 'internal'
}

function untilPeriodEnds(error: unknown, nowMs: number): number {
  if (!(error instanceof UnpayableError) || error.code !== 'claim.period_limit') return Number.POSITIVE_INFINITY
  if (error.periodEndsAt === undefined) return Number.POSITIVE_INFINITY
  return Math.max(error.periodEndsAt * 1_000 - nowMs, 0) + 1_000
}
