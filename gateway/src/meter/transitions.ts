import type { GrantSource, Hex } from '@protocolbanks/stream-protocol'
import { type AccountCounters, type Channel, type GrantCounters, owedOf } from './decide.ts'
import { larger } from './larger.ts'
import type { AccountState, GrantState } from './meter.ts'
import { maxMeterAmount } from './meter.ts'
import type { Spent } from './spending.ts'

/** The newest voucher of a channel that was charged against: with it what is charged can be proved. */
export type NewestVoucher = { cumulativeAmount: bigint; signature: Hex }

/** A grant as the meter keeps it. Payees in lower case. */
export type MeteredGrant = {
  token: string
  source: GrantSource
  counters: GrantCounters
  channels: Map<string, MeteredChannel>
  limits: GrantState['limits']
  /** By what it was counted for; only what has limits is. */
  spent: Map<string, Spent>
  /** Unix milliseconds; undefined while it owes, or was charged what the journal does not have. */
  leavesAtMs: number | undefined
}

/** `voucher` is undefined when the journal already has the newest one. */
export type MeteredChannel = Channel & { voucher: NewestVoucher | undefined }

export type MeteredAccount = Record<GrantSource, AccountCounters> & {
  block: bigint
  /** With the last of its grants, or later. */
  leavesAtMs: number | undefined
}

export const emptyChannel: MeteredChannel = {
  status: 'active',
  authorized: 0n,
  charged: 0n,
  settled: 0n,
  voucher: undefined,
}

/** A channel after a charge that was decided with yes. */
export function chargeChannel(channel: MeteredChannel, amount: bigint, voucher: NewestVoucher): MeteredChannel {
  const cumulativeAmount = clampAmount(voucher.cumulativeAmount)
  const newest = cumulativeAmount >= channel.authorized
  return {
    ...channel,
    charged: channel.charged + amount,
    authorized: newest ? cumulativeAmount : channel.authorized,
    voucher: newest ? voucher : channel.voucher,
  }
}

/** A channel after `captured` of `amount` was charged instead of the whole. */
export function captureChannel(channel: MeteredChannel, amount: bigint, captured: bigint): MeteredChannel {
  return { ...channel, charged: channel.charged - (amount - captured) }
}

/**
 * A grant after a mirror: the chain's facts are replaced, `charged` and `authorized` only rise. `more` is what it owes
 * more than before (negative: less).
 */
export function mirrorGrant(
  known: MeteredGrant | undefined,
  token: string,
  state: GrantState,
): { grant: MeteredGrant; more: bigint } {
  const channels = new Map(known?.channels)
  for (const mirrored of state.channels) {
    const payee = mirrored.payee.toLowerCase()
    const channel = channels.get(payee) ?? emptyChannel
    const authorized = clampAmount(mirrored.authorized)
    const charged = clampAmount(mirrored.charged)
    channels.set(payee, {
      status: mirrored.status,
      authorized: larger(authorized, channel.authorized),
      charged: larger(charged, channel.charged),
      settled: clampAmount(mirrored.settled),
      voucher: authorized >= channel.authorized ? undefined : channel.voucher,
    })
  }
  let owed = 0n
  for (const channel of channels.values()) owed += owedOf(channel)
  const counters: GrantCounters = {
    status: state.status,
    validAfter: state.validAfter,
    validUntil: state.validUntil,
    totalLimit: clampAmount(state.totalLimit),
    periodLimit: clampAmount(state.periodLimit),
    period: state.period,
    settled: clampAmount(state.settled),
    periodIndex: state.periodIndex,
    periodSettled: clampAmount(state.periodSettled),
    owed,
  }
  const spent = known?.spent ?? new Map<string, Spent>()
  const { leavesAtMs } = known ?? {}
  const grant = { token, source: state.source, counters, channels, limits: state.limits, spent, leavesAtMs }
  return { grant, more: owed - (known?.counters.owed ?? 0n) }
}

/**
 * When a grant leaves a meter that has just mirrored it: a while after its end. Undefined: it owes something, or the journal
 * does not have all that it was charged. What has ended leaves no later for being mirrored again.
 */
export function leavesAtMs(
  known: MeteredGrant | undefined,
  { counters, channels }: MeteredGrant,
  state: GrantState,
  { nowMs, retentionMs }: { nowMs: number; retentionMs: number },
): number | undefined {
  const journalled = new Map(state.channels.map(({ payee, charged }) => [payee.toLowerCase(), clampAmount(charged)]))
  const isJournalled = [...channels].every(([payee, { charged }]) => charged <= (journalled.get(payee) ?? 0n))
  if (counters.owed > 0n || !isJournalled) return undefined
  const endMs = counters.validUntil * 1000
  if (counters.status !== 'revoked' && endMs > nowMs) return endMs + retentionMs
  return Math.min(known?.leavesAtMs ?? Number.POSITIVE_INFINITY, nowMs + retentionMs)
}

/** What each payee is owed more by one version of a grant's channels than by another (negative: less). */
export function owedChanges(
  before: ReadonlyMap<string, Channel> | undefined,
  after: ReadonlyMap<string, Channel>,
): { payee: string; more: bigint }[] {
  const changes: { payee: string; more: bigint }[] = []
  for (const [payee, channel] of after) {
    const more = owedOf(channel) - owedOf(before?.get(payee) ?? emptyChannel)
    if (more !== 0n) changes.push({ payee, more })
  }
  return changes
}

export const emptyAccount: AccountCounters = { funds: 0n, outstanding: 0n }

/** Whether a mirror is older than what the meter knows of the account. */
export function isOlder(state: AccountState, known: MeteredAccount | undefined): boolean {
  return known !== undefined && state.block < known.block
}

/** Amounts beyond `maxMeterAmount` are metered as if they were that. */
export function clampAmount(amount: bigint): bigint {
  return amount > maxMeterAmount ? maxMeterAmount : amount
}
