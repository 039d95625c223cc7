import { eq, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../createDb.ts'
import { settlementTransactionMemberTable } from '../transactions/table.ts'
import { heldBy } from './heldBy.ts'
import { insertItems } from './items.ts'
import { takeLane } from './lanes.ts'
import { loadSettlementWork, type SettlementWork } from './loadSettlementWork.ts'
import type { Settlement } from './settlement.ts'
import { settlementItemTable, settlementTable } from './table.ts'

export type RetakeOptions = {
  id: string
  owner: string
  now: Date
  /** As in `claimSettlement`. */
  stuckMs?: number | undefined
}

/** `lost`: not ours, or not failed any more. `busy`: the account's lanes are taken; it is still ours, and failed. */
export type Retaken = SettlementWork | 'lost' | 'busy'

const defaultStuckMs = 45_000

/**
 * Takes a failed settlement up again that we have the lease of: its state becomes `retried`, in a lane of its account. One
 * that was never sent gets its amounts anew, by what is owed now; what was sent keeps them, because it may be included yet.
 */
export function retakeSettlement(
  db: Queryable,
  { id, owner, now, stuckMs = defaultStuckMs }: RetakeOptions,
): Promise<Retaken> {
  return db.transaction(async (tx): Promise<Retaken> => {
    const [settlement] = await tx.select().from(settlementTable).where(heldBy(id, owner)).for('update')
    if (settlement?.state !== 'failed') return 'lost'
    const lane = await takeLane(tx, { account: settlement.account, except: id, now, stuckMs })
    if (lane === undefined) return 'busy'
    await tx
      .update(settlementTable)
      .set({ state: 'retried', lane, laneSince: now, updatedAt: sql`now()` })
      .where(eq(settlementTable.id, id))
    if (!(await wasSent(tx, settlement))) await renewItems(tx, settlement, now)
    const [work] = await loadSettlementWork(tx, [id])
    return work ?? 'lost'
  })
}

async function wasSent(tx: Tx, { id, userOpHash }: Settlement): Promise<boolean> {
  if (userOpHash !== null) return true
  const rows = await tx
    .select({ id: settlementTransactionMemberTable.transactionId })
    .from(settlementTransactionMemberTable)
    .where(eq(settlementTransactionMemberTable.settlementId, id))
    .limit(1)
  return rows.length > 0
}

/** Keeps the old ones when nothing is owed any more: the chain says what became of them. */
async function renewItems(tx: Tx, { id, grantId, trigger }: Settlement, now: Date): Promise<void> {
  const before = await tx.delete(settlementItemTable).where(eq(settlementItemTable.settlementId, id)).returning()
  const count = await insertItems(tx, id, { grantId, trigger, now })
  if (count === 0 && before.length > 0) await tx.insert(settlementItemTable).values(before)
}
