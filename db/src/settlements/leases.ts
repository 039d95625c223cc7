import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { heldBy } from './heldBy.ts'
import { loadSettlementWork, type SettlementWork } from './loadSettlementWork.ts'
import { settlementTable } from './table.ts'

/**
 * Leases open settlements that are due: their moment has come, and nobody works on them any more. Several workers may
 * ask at once; each settlement goes to one of them.
 */
export async function leaseDueSettlements(
  db: Queryable,
  { owner, leaseMs, limit, now }: { owner: string; leaseMs: number; limit: number; now: Date },
): Promise<SettlementWork[]> {
  const nowIso = now.toISOString()
  const { rows } = await db.execute<{ id: string }>(sql`
    update settlement set lease_owner = ${owner},
      lease_until = ${new Date(now.getTime() + leaseMs).toISOString()}::timestamptz
    where id in (
      select id from settlement
      where state in ('intended', 'submitted', 'failed')
        and (lease_until is null or lease_until <= ${nowIso}::timestamptz)
        and (next_attempt_at is null or next_attempt_at <= ${nowIso}::timestamptz)
      order by coalesce(next_attempt_at, created_at), id
      limit ${limit}
      for update skip locked)
    returning id`)
  return loadSettlementWork(
    db,
    rows.map(({ id }) => id),
  )
}

/** False when the lease went to somebody else: stop working on it. */
export async function renewSettlementLease(
  db: Queryable,
  { id, owner, until }: { id: string; owner: string; until: Date },
): Promise<boolean> {
  const rows = await db
    .update(settlementTable)
    .set({ leaseUntil: until })
    .where(heldBy(id, owner))
    .returning({ id: settlementTable.id })
  return rows.length === 1
}

/** Gives a lease back without an outcome; the settlement is due again at `nextAttemptAt`. */
export async function releaseSettlement(
  db: Queryable,
  { id, owner, nextAttemptAt }: { id: string; owner: string; nextAttemptAt: Date },
): Promise<boolean> {
  const rows = await db
    .update(settlementTable)
    .set({ leaseOwner: null, leaseUntil: null, nextAttemptAt })
    .where(heldBy(id, owner))
    .returning({ id: settlementTable.id })
  return rows.length === 1
}
