import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'

/** Makes the journal's monthly partitions (UTC) that these moments need, where they do not exist. Safe to repeat. */
export async function ensurePartitions(db: Queryable, moments: readonly Date[]): Promise<void> {
  for (const month of new Set(moments.map(monthOf))) {
    await db.execute(sql`select ensure_charge_partition(${month}::timestamptz)`)
  }
}

/** First moment of the month in UTC, ISO 8601. */
export function monthOf(moment: Date): string {
  return new Date(Date.UTC(moment.getUTCFullYear(), moment.getUTCMonth(), 1)).toISOString()
}
