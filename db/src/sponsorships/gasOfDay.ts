import { gte, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { merchantTable } from '../merchants/table.ts'
import { sponsorshipShareTable, sponsorshipTable } from './table.ts'

/** Gas of a UTC day, wei: what operations cost, and the most that those may cost which are not booked yet. */
export type GasOfDay = {
  /** By the kind of operation; `operator`: what no merchant pays for. */
  byKind: { kind: string; wei: bigint }[]
  /** Merchants who have used nine tenths of their budget or more. */
  merchantsNearBudget: number
}

/** Of the day that `now` is in. */
export async function gasOfDay(db: Queryable, now: Date): Promise<GasOfDay> {
  const day = now.toISOString().slice(0, 10)
  const cost = sql`sum(case ${sponsorshipTable.state} when 'expired' then 0
    else coalesce(${sponsorshipTable.actualCostWei}, ${sponsorshipTable.maxCostWei}) end)`
  const byKind = await db
    .select({ kind: sponsorshipTable.kind, wei: cost.mapWith(BigInt) })
    .from(sponsorshipTable)
    .where(gte(sponsorshipTable.createdAt, new Date(`${day}T00:00:00Z`)))
    .groupBy(sponsorshipTable.kind)
    .orderBy(sponsorshipTable.kind)
  const { rows } = await db.execute<{ count: number }>(sql`
    select count(*)::integer as count from (
      select s.merchant_id from ${sponsorshipShareTable} s
      join ${merchantTable} m on m.id = s.merchant_id
      where s.day = ${day}::date
      group by s.merchant_id, m.gas_budget_wei_per_day
      having sum(coalesce(s.actual_cost_wei, s.max_cost_wei)) * 10 >= m.gas_budget_wei_per_day * 9
    ) near`)
  return { byKind, merchantsNearBudget: rows[0]?.count ?? 0 }
}
