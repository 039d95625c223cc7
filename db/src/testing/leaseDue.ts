import type { Queryable } from '../createDb.ts'
import { leaseSettlement, listDueSettlements } from '../settlements/leases.ts'
import type { SettlementWork } from '../settlements/loadSettlementWork.ts'

/** Leases all settlements that are due, as a worker does. */
export async function leaseDue(
  db: Queryable,
  lease: { owner: string; leaseMs: number; now: Date },
): Promise<SettlementWork[]> {
  const works: SettlementWork[] = []
  for (const { id } of await listDueSettlements(db, { now: lease.now, limit: 1_000, expiryMarginSeconds: 600 })) {
    const work = await leaseSettlement(db, { id, ...lease })
    if (work) works.push(work)
  }
  return works
}
