import { and, asc, gte, lt, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Charge } from './journal.ts'
import { chargeTable } from './table.ts'

/**
 * Charges that were made in [from, until), oldest first, at most `limit`. To go on: the same `until`, and `after` the last
 * one's time and event id.
 */
export function listChargesBetween(
  db: Queryable,
  {
    from,
    until,
    after,
    limit,
  }: { from: Date; until: Date; after?: { at: Date; eventId: string } | undefined; limit: number },
): Promise<Charge[]> {
  return db
    .select()
    .from(chargeTable)
    .where(
      and(
        gte(chargeTable.occurredAt, from),
        lt(chargeTable.occurredAt, until),
        after &&
          sql`(${chargeTable.occurredAt}, ${chargeTable.eventId}) > (${after.at.toISOString()}::timestamptz, ${after.eventId})`,
      ),
    )
    .orderBy(asc(chargeTable.occurredAt), asc(chargeTable.eventId))
    .limit(limit)
}
