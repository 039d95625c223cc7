import type { GrantSource } from '@protocolbanks/stream-protocol'
import { larger } from './larger.ts'
import type { ChannelMeter, CreditLimits, ExposureLimit, GrantStatus, ReachedLimit, RefusalCode, Use } from './meter.ts'
import { exceededSpending, type ScopedSpending } from './spending.ts'

/** What the meter holds that one charge depends on. Amounts in base units, at most `maxMeterAmount`. */
export type ChargeState = {
  /** Undefined: not mirrored. */
  grant: GrantCounters | undefined
  channel: Channel
  /** What the grant is paid from. */
  source: GrantSource
  /** Of the source that the grant is paid from. */
  account: AccountCounters
  /** To this payee; read only for grants paid from the allowance. */
  exposure: ExposureCounters
  /** Those of service, payee and grant that limit spending. */
  spending: readonly ScopedSpending[]
  /** What was charged under this request id in the channel. */
  request: ChargedRequest | undefined
}

export type GrantCounters = {
  status: GrantStatus
  validAfter: number
  validUntil: number
  totalLimit: bigint
  periodLimit: bigint
  period: number
  settled: bigint
  periodIndex: number
  periodSettled: bigint
  owed: bigint
}

export type Channel = ChannelMeter & { status: GrantStatus }
/** What an account can pay out of one source, and what its grants of that source owe. */
export type AccountCounters = { funds: bigint; outstanding: bigint }
/** What one account, and what all accounts owe a payee on credit. */
export type ExposureCounters = { account: bigint; total: bigint }
export type ChargedRequest = { instance: string; fingerprint: string; amount: bigint; eventId: string }

export type Verdict =
  | { ok: true; more: bigint }
  | { ok: false; code: RefusalCode | 'request.duplicate'; limit?: ReachedLimit | undefined }

/** The part of a use that the rules look at. */
export type PricedUse = Pick<
  Use,
  'amount' | 'cumulativeAmount' | 'fingerprint' | 'nowMs' | 'credit' | 'settlementMarginSeconds'
>

/**
 * Whether this use may be charged: the rules of docs/architecture.md in their order, the first that fails is the answer.
 * `more` is what the charge adds to what the grant owes. Its twin is lua/charge.lua; a property test holds them equal.
 */
export function decideCharge(state: ChargeState, use: PricedUse): Verdict {
  const { grant, channel, account, request } = state
  const nowSeconds = Math.floor(use.nowMs / 1000)

  if (!grant) return refuse('grant.unknown')
  if (grant.status === 'revoked' || channel.status === 'revoked') return refuse('grant.revoked')
  if (grant.status === 'frozen' || channel.status === 'frozen') return refuse('grant.frozen')
  if (nowSeconds < grant.validAfter) return refuse('grant.not_yet_valid')
  if (nowSeconds > grant.validUntil - use.settlementMarginSeconds) return refuse('grant.expired')

  if (request) return refuse(request.fingerprint === use.fingerprint ? 'request.duplicate' : 'request.conflict')

  const credit = state.source === 'allowance' ? use.credit : undefined
  if (credit?.mode === 'reserve_only') return refuse('credit.refused')

  const exceeded = exceededSpending(state.spending, use.amount, use.nowMs)
  if (exceeded) return { ok: false, ...exceeded }

  const authorized = larger(channel.authorized, use.cumulativeAmount)
  if (channel.charged + use.amount > authorized) return refuse('voucher.exhausted')

  const more = owedOf({ ...channel, charged: channel.charged + use.amount }) - owedOf(channel)
  if (grant.settled + grant.owed + more > grant.totalLimit) return refuse('limit.total')
  if (grant.periodLimit > 0n) {
    const settledNow = settledInPeriod(grant, nowSeconds)
    if (settledNow + grant.owed + more > grant.periodLimit) return refuse('limit.period')
  }
  if (account.outstanding + more > account.funds) return refuse('funds.insufficient')

  // What adds nothing to the debt is not served on credit.
  const limit = credit && more > 0n ? exceededLimit(credit, state, more) : undefined
  if (limit !== undefined) return { ok: false, code: 'limit.exposure', limit }
  return { ok: true, more }
}

/** The first limit that `more` on credit would go above. */
function exceededLimit(
  credit: CreditLimits,
  { grant, channel, account, exposure }: ChargeState,
  more: bigint,
): ExposureLimit | undefined {
  if (isAbove(owedOf(channel) + more, credit.maxPerGrant)) return 'grant'
  if (isAbove(exposure.account + more, credit.maxPerAccount)) return 'account'
  if (isAbove((grant?.owed ?? 0n) + more, credit.maxPerGrantOverall)) return 'operator_grant'
  if (isAbove(account.outstanding + more, credit.maxPerAccountOverall)) return 'operator_account'
  if (isAbove(exposure.total + more, credit.maxTotal)) return 'merchant'
  return undefined
}

function isAbove(amount: bigint, limit: bigint | undefined): boolean {
  return limit !== undefined && amount > limit
}

/** What the payee of a channel is still owed. */
export function owedOf({ charged, settled }: Pick<ChannelMeter, 'charged' | 'settled'>): bigint {
  return charged > settled ? charged - settled : 0n
}

/** What the chain settled in this period. A chain ahead of our clock counts as this period. */
function settledInPeriod(grant: GrantCounters, nowSeconds: number): bigint {
  const periodIndex = Math.floor((nowSeconds - grant.validAfter) / grant.period)
  return grant.periodIndex >= periodIndex ? grant.periodSettled : 0n
}

function refuse(code: RefusalCode | 'request.duplicate'): Verdict {
  return { ok: false, code }
}
