import { eq, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { sentinelHeartbeatTable } from './table.ts'

const name = 'sentinel'

/** A sentinel that hears what is charged says so. Any number may: the latest counts. */
export async function recordHeartbeat(db: Queryable, now: Date): Promise<void> {
  await db
    .insert(sentinelHeartbeatTable)
    .values({ name, heardAt: now })
    .onConflictDoUpdate({
      target: sentinelHeartbeatTable.name,
      set: { heardAt: sql`greatest(${sentinelHeartbeatTable.heardAt}, excluded.heard_at)` },
    })
}

/** Undefined: there never was one. */
export async function readHeartbeat(db: Queryable): Promise<Date | undefined> {
  const [row] = await db
    .select({ heardAt: sentinelHeartbeatTable.heardAt })
    .from(sentinelHeartbeatTable)
    .where(eq(sentinelHeartbeatTable.name, name))
  return row?.heardAt
}
