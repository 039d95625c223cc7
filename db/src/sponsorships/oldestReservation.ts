import { eq, min } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { sponsorshipTable } from './table.ts'

/** Since when sponsorships wait for their outcome: when the oldest of them was reserved. Undefined: none waits. */
export async function oldestReservation(db: Queryable): Promise<Date | undefined> {
  const [row] = await db
    .select({ createdAt: min(sponsorshipTable.createdAt) })
    .from(sponsorshipTable)
    .where(eq(sponsorshipTable.state, 'reserved'))
  return row?.createdAt ?? undefined
}
