import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { CrashPoint } from './fault.ts'
import type { FaultResult } from './runSchedule.ts'
import type { Call } from './startTraffic.ts'

/** What all books say when everything has come to rest. Amounts in base units. */
export type Facts = {
  /** The agents' own book. */
  calls: readonly Pick<Call, 'requestId' | 'grantId' | 'payee' | 'amountAtomic' | 'outcome'>[]
  journal: readonly { eventId: string; requestId: string; grantId: Hex; payee: Address; amount: bigint }[]
  /** As Postgres has them: what was charged, and what the mirror says was settled. */
  channels: readonly { grantId: Hex; payee: Address; charged: bigint; settled: bigint }[]
  /** The module's `Settled` events, in the chain's order. `settled` is the channel's total after it. */
  payments: readonly { grantId: Hex; payee: Address; paid: bigint; settled: bigint }[]
  /** What confirmed settlements say that they paid. */
  claims: readonly { settlementId: string; grantId: Hex; payee: Address; paid: bigint }[]
  /** The token's balance of each payee, who had nothing before. */
  balances: readonly { payee: Address; received: bigint }[]
  /** Settlements that are neither confirmed nor taken over by another. */
  unfinished: readonly { id: string; state: string; errorCode: string | null }[]
  /** Requests for a settlement by hand. There must be none: it all happens by itself. */
  requestedByHand: number
  /** Request ids of usage events that were refused, and how many copies were forged. */
  quarantined: readonly { requestId: string; reason: string }[]
  copies: number
  /** Usage events left in the meter. */
  waiting: number
  /** What `pb reconcile` said. */
  reconcile: { exitCode: number | null; output: string }
  /** Of agents and processes: what should never be. */
  surprises: readonly string[]
}

/** The result of a run. Amounts as decimal strings of base units. */
export type Verdict = {
  faults: number
  payments: number
  chargedAtomic: string
  receivedAtomic: string
  /** Payments of money that was paid before: by the chain's events, or by what settlements claim. */
  doubleSettled: number
  /** Paid by events that no confirmed settlement claims: by ones that a reorganisation closed, and that were included again. */
  unclaimedAtomic: string
  /** Served calls that the journal lacks or has twice, and charges of calls that nobody was given an answer for. */
  lost: number
  maxRecoverySeconds: number | null
  /** Empty: all is well. */
  problems: string[]
}

export const recoveryGoalSeconds = 30

/** Holds all books against each other. A pure function. */
export function judge(
  facts: Facts,
  results: readonly FaultResult[],
  expected: { faults: number; payments: number; points: readonly CrashPoint[] },
): Verdict {
  const problems: string[] = []
  const say = (isWrong: boolean, text: string) => isWrong && problems.push(text)
  const { calls, journal, channels, payments, claims } = facts

  const charged = sum(journal, ({ amount }) => amount)
  const received = sum(facts.balances, ({ received }) => received)
  const bought = sum(calls, ({ amountAtomic }) => amountAtomic)
  const sums = { bought, charged, channels: sum(channels, ({ charged }) => charged) }
  const paid = { settled: sum(channels, ({ settled }) => settled), paid: sum(payments, ({ paid }) => paid), received }
  for (const [name, amount] of Object.entries({ ...sums, ...paid })) {
    say(amount !== charged, `${name}: ${amount} instead of ${charged}`)
  }

  const lost = findLost(facts)
  for (const text of lost.slice(0, 10)) problems.push(`lost: ${text}`)
  const doubled = findDoubled(facts)
  for (const text of doubled.slice(0, 10)) problems.push(`settled twice: ${text}`)

  const perChannel = new Map(channels.map((channel) => [keyOf(channel), channel]))
  const paidOf = groupSum(payments, ({ paid }) => paid)
  const journalOf = groupSum(journal, ({ amount }) => amount)
  for (const key of new Set([...perChannel.keys(), ...paidOf.keys(), ...journalOf.keys()])) {
    const { charged: channelCharged = 0n, settled = 0n } = perChannel.get(key) ?? {}
    const amounts = [channelCharged, journalOf.get(key) ?? 0n, paidOf.get(key) ?? 0n]
    say(
      amounts.some((amount) => amount !== settled),
      `channel ${key}: charged ${amounts[0]}, journal ${amounts[1]}, events ${amounts[2]}, mirrored ${settled}`,
    )
  }
  for (const { id, state, errorCode } of facts.unfinished) problems.push(`settlement ${id} is ${state}: ${errorCode}`)
  say(facts.requestedByHand > 0, `${facts.requestedByHand} settlements were asked for by hand`)
  say(facts.waiting > 0, `${facts.waiting} usage events are left in the meter`)
  say(
    facts.quarantined.length > facts.copies,
    `${facts.quarantined.length} events in quarantine of ${facts.copies} copies`,
  )
  const served = new Set(journal.map(({ requestId }) => requestId))
  for (const { requestId, reason } of facts.quarantined) {
    say(!served.has(requestId), `${requestId} is in quarantine (${reason}) and not in the journal`)
  }
  say(facts.reconcile.exitCode !== 0, `reconcile: exit code ${facts.reconcile.exitCode}\n${facts.reconcile.output}`)
  for (const text of facts.surprises) problems.push(`surprise: ${text}`)

  for (const { fault, problem } of results) say(problem !== undefined, `fault #${fault.index}: ${problem}`)
  const done = results.filter(({ problem }) => problem === undefined)
  const hit = new Set(done.flatMap(({ fault }) => (fault.kind === 'crash' ? [fault.point] : [])))
  for (const point of expected.points) say(!hit.has(point), `crash point ${point} was never reached`)
  say(done.length < expected.faults, `${done.length} faults of ${expected.faults}`)
  say(calls.length < expected.payments, `${calls.length} payments of ${expected.payments}`)
  const recoveries = done.flatMap(({ recoverySeconds }) => recoverySeconds ?? [])
  return {
    faults: done.length,
    payments: journal.length,
    chargedAtomic: charged.toString(),
    receivedAtomic: received.toString(),
    doubleSettled: doubled.length,
    unclaimedAtomic: (sum(payments, ({ paid }) => paid) - sum(claims, ({ paid }) => paid)).toString(),
    lost: lost.length,
    maxRecoverySeconds: recoveries.length < results.length ? null : Math.max(0, ...recoveries),
    problems,
  }
}

/** Every call was served once and is in the journal once. */
function findLost({ calls, journal }: Pick<Facts, 'calls' | 'journal'>): string[] {
  const rows = new Map<string, number>()
  for (const { requestId } of journal) rows.set(requestId, (rows.get(requestId) ?? 0) + 1)
  const lost: string[] = []
  const known = new Set<string>()
  for (const { requestId, outcome } of calls) {
    known.add(requestId)
    const count = rows.get(requestId) ?? 0
    if (outcome === 'open') {
      if (count > 0) lost.push(`${requestId} was charged and never served`)
    } else if (count !== 1) lost.push(`${requestId} was served and is in the journal ${count} times`)
  }
  for (const requestId of rows.keys())
    if (!known.has(requestId)) lost.push(`${requestId} was charged and never asked for`)
  return lost
}

/** Each event takes its channel on from where the one before left it, and no two settlements claim one payment. */
function findDoubled({ payments, claims }: Pick<Facts, 'payments' | 'claims'>): string[] {
  const doubled: string[] = []
  const settledOf = new Map<string, bigint>()
  for (const payment of payments) {
    const key = keyOf(payment)
    const before = settledOf.get(key) ?? 0n
    if (payment.settled - payment.paid !== before) {
      doubled.push(`${key}: ${payment.paid} up to ${payment.settled}, after ${before}`)
    }
    settledOf.set(key, payment.settled)
  }
  for (const [key, claimed] of groupSum(claims, ({ paid }) => paid)) {
    const paid = settledOf.get(key) ?? 0n
    if (claimed > paid) doubled.push(`${key}: settlements claim ${claimed} of ${paid}`)
  }
  return doubled
}

type Channel = { grantId: Hex; payee: Address }

function keyOf({ grantId, payee }: Channel): string {
  return `${grantId.toLowerCase()} ${payee.toLowerCase()}`
}

function sum<T>(rows: readonly T[], amountOf: (row: T) => bigint): bigint {
  return rows.reduce((total, row) => total + amountOf(row), 0n)
}

function groupSum<T extends Channel>(rows: readonly T[], amountOf: (row: T) => bigint): Map<string, bigint> {
  const sums = new Map<string, bigint>()
  for (const row of rows) sums.set(keyOf(row), (sums.get(keyOf(row)) ?? 0n) + amountOf(row))
  return sums
}
