import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'

/** What the whole deployment owes, waits for and could not do, as Postgres has it. Amounts in base units. */
export type Figures = {
  /** Charged and not settled, by what pays it: the allowance is credit. */
  outstanding: { allowance: bigint; reserve: bigint }
  /** Since when the longest unsettled charge waits; null: nothing is owed. */
  oldestClaimAt: Date | null
  /** Settlements that are not over, by state; dead ones that an operator wrote off are over. */
  settlements: { state: string; count: number }[]
  /** Those among them that failed, by state and reason. */
  failures: { state: string; reason: string; count: number }[]
  webhooksWaiting: number
  /** Counted up to 10,000. */
  quarantinedEvents: number
  blockedPayees: number
}

type Row = {
  outstanding: Record<string, string>
  oldest_claim_at: string | null
  settlements: { state: string; reason: string | null; count: number }[]
  webhooks_waiting: number
  quarantined_events: number
  blocked_payees: number
}

const maxCounted = 10_000

/** One statement over partial indexes: its cost follows what is open, not what ever was. */
export async function readFigures(db: Queryable): Promise<Figures> {
  const { rows } = await db.execute<Row>(sql`
    with owing as (
      select g.source, sum(c.charged - c.settled) as amount, min(c.first_unsettled_at) as oldest
      from channel c join "grant" g on g.grant_id = c.grant_id
      where c.owing
      group by g.source
    ),
    open as (
      select state, failure_reason as reason, count(*)::integer as count
      from settlement
      where state in ('pending', 'intended', 'submitted', 'included', 'failed', 'retried')
      group by state, failure_reason
      union all
      select state, failure_reason, count(*)::integer
      from settlement
      where state = 'dead' and written_off_at is null
      group by state, failure_reason
    )
    select
      (select coalesce(json_object_agg(source, amount::text), '{}') from owing) as outstanding,
      (select to_json(min(oldest)) #>> '{}' from owing) as oldest_claim_at,
      (select coalesce(json_agg(open), '[]') from open) as settlements,
      (select count(*)::integer from webhook_delivery where state = 'pending') as webhooks_waiting,
      (select count(*)::integer from (select from usage_quarantine limit ${maxCounted}) as counted) as quarantined_events,
      (select count(*)::integer from payee_block where blocked) as blocked_payees`)
  const [row] = rows
  if (!row) throw new Error('Postgres answered without a row.')
  const { outstanding, settlements } = row
  return {
    outstanding: { allowance: BigInt(outstanding.allowance ?? 0), reserve: BigInt(outstanding.reserve ?? 0) },
    oldestClaimAt: row.oldest_claim_at === null ? null : new Date(row.oldest_claim_at),
    settlements: sumByState(settlements),
    failures: settlements.flatMap(({ state, reason, count }) =>
      reason !== null && (state === 'failed' || state === 'dead') ? [{ state, reason, count }] : [],
    ),
    webhooksWaiting: row.webhooks_waiting,
    quarantinedEvents: row.quarantined_events,
    blockedPayees: row.blocked_payees,
  }
}

function sumByState(rows: Row['settlements']): Figures['settlements'] {
  const counts = new Map<string, number>()
  for (const { state, count } of rows) counts.set(state, (counts.get(state) ?? 0) + count)
  return [...counts].map(([state, count]) => ({ state, count }))
}
