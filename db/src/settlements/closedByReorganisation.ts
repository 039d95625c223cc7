import { and, asc, eq, gte } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { loadSettlementWork, type SettlementWork } from './loadSettlementWork.ts'
import { settlementTable } from './table.ts'

/** A reorganisation took them back, and their grants go on with other settlements. */
export const closedByReorganisation = and(
  eq(settlementTable.state, 'dead'),
  eq(settlementTable.failureReason, 'reorganised'),
)

/** Settlements that a reorganisation closed since. What was sent for them can still be included. Oldest first. */
export async function listClosedByReorganisation(
  db: Queryable,
  { since, limit }: { since: Date; limit: number },
): Promise<SettlementWork[]> {
  const rows = await db
    .select({ id: settlementTable.id })
    .from(settlementTable)
    .where(and(closedByReorganisation, gte(settlementTable.updatedAt, since)))
    .orderBy(asc(settlementTable.id))
    .limit(limit)
  return loadSettlementWork(
    db,
    rows.map(({ id }) => id),
  )
}
