import type { GrantSource, Hex } from '@protocolbanks/stream-protocol'
import { type SQL, sql } from 'drizzle-orm'

/** What decides on who is settled first. */
export type Urgency = {
  grantId: Hex
  /** Whether the sentinel lets it be settled first, and freezes it then. */
  stopping: boolean
  /** Unix seconds: after it nothing can be collected. */
  validUntil: number
  /** Since when it could have been worked on; null: it is due by its amount alone. */
  dueSince: Date | null
  /** Whether the owner takes out of the reserve what is owed. */
  withdrawn: boolean
  /** allowance: on credit, may be gone any moment. reserve: the money is there. */
  source: GrantSource
  /** What a settlement would move, base units. */
  owed: bigint
}

export type UrgencyPolicy = {
  now: Date
  /** Grants that end within this come first. */
  expiryMarginSeconds: number
}

/** Whoever waits for longer comes before those who only owe more: nobody starves. */
export const starvationMs = 600_000

/**
 * Largest risk first, lexicographically: grants that are about to be frozen; those that end within the margin, the soonest
 * first; those who have waited for ten minutes, the longest first; withdrawals from the reserve; what is owed on credit; what
 * the reserve guarantees; within each of these the most owed, then the grant's id. Its twin is `orderByUrgency`; a test
 * holds them equal.
 */
export function compareUrgency(a: Urgency, b: Urgency, policy: UrgencyPolicy): number {
  const [rank, other] = [rankOf(a, policy), rankOf(b, policy)]
  if (rank !== other) return rank - other
  if (rank === ranks.ending && a.validUntil !== b.validUntil) return a.validUntil - b.validUntil
  if (rank === ranks.overdue) {
    const earlier = (a.dueSince?.getTime() ?? 0) - (b.dueSince?.getTime() ?? 0)
    if (earlier !== 0) return earlier
  }
  if (a.owed !== b.owed) return a.owed > b.owed ? -1 : 1
  return a.grantId < b.grantId ? -1 : a.grantId > b.grantId ? 1 : 0
}

/** For rows with `stopping`, `valid_until`, `due_since`, `withdrawn`, `source`, `owed` and `grant_id`. */
export function orderByUrgency(policy: UrgencyPolicy): SQL {
  const rank = sql`case
    when stopping then ${ranks.stopping}::integer
    when valid_until <= ${endingAt(policy)} then ${ranks.ending}
    when due_since <= ${new Date(overdueSince(policy)).toISOString()}::timestamptz then ${ranks.overdue}
    when withdrawn then ${ranks.withdrawn}
    when source = 'allowance' then ${ranks.credit}
    else ${ranks.guaranteed} end`
  return sql`${rank},
    case when ${rank} = ${ranks.ending}::integer then valid_until end,
    case when ${rank} = ${ranks.overdue}::integer then due_since end, owed desc, grant_id`
}

const ranks = { stopping: 0, ending: 1, overdue: 2, withdrawn: 3, credit: 4, guaranteed: 5 } as const

function rankOf({ stopping, validUntil, dueSince, withdrawn, source }: Urgency, policy: UrgencyPolicy): number {
  if (stopping) return ranks.stopping
  if (validUntil <= endingAt(policy)) return ranks.ending
  if (dueSince !== null && dueSince.getTime() <= overdueSince(policy)) return ranks.overdue
  if (withdrawn) return ranks.withdrawn
  return source === 'allowance' ? ranks.credit : ranks.guaranteed
}

function endingAt({ now, expiryMarginSeconds }: UrgencyPolicy): number {
  return Math.floor(now.getTime() / 1_000) + expiryMarginSeconds
}

function overdueSince({ now }: UrgencyPolicy): number {
  return now.getTime() - starvationMs
}
