import { and, asc, eq, gte } from 'drizzle-orm'
import type { Db, Queryable } from '../createDb.ts'
import { loadSettlementWork, type SettlementWork } from './loadSettlementWork.ts'
import type { Confirmation } from './outcomes.ts'
import { settlementItemTable, settlementTable } from './table.ts'

/**
 * Settlements that a reorganisation took back and whose grant goes on with another one. What was sent for them can still
 * be included. Oldest first.
 */
export async function listClosedByReorganisation(
  db: Queryable,
  { since, limit }: { since: Date; limit: number },
): Promise<SettlementWork[]> {
  const rows = await db
    .select({ id: settlementTable.id })
    .from(settlementTable)
    .where(and(isClosed, gte(settlementTable.updatedAt, since)))
    .orderBy(asc(settlementTable.id))
    .limit(limit)
  return loadSettlementWork(
    db,
    rows.map(({ id }) => id),
  )
}

/** The chain has it after all: it is confirmed with what it paid. False when it is no longer closed. */
export function confirmClosed(
  db: Db,
  id: string,
  { items, userOpHash, ...outcome }: Omit<Confirmation, 'id' | 'owner'>,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const rows = await tx
      .update(settlementTable)
      .set({
        ...outcome,
        ...(userOpHash !== null && { userOpHash }),
        state: 'confirmed',
        writtenOffAt: null,
        failureReason: null,
        errorCode: null,
        errorMessage: null,
        updatedAt: new Date(),
      })
      .where(and(eq(settlementTable.id, id), isClosed))
      .returning({ id: settlementTable.id })
    if (rows.length === 0) return false
    for (const { payee, paid, skippedReason = null } of items) {
      await tx
        .update(settlementItemTable)
        .set({ paid, skippedReason })
        .where(and(eq(settlementItemTable.settlementId, id), eq(settlementItemTable.payee, payee)))
    }
    return true
  })
}

const isClosed = and(eq(settlementTable.state, 'dead'), eq(settlementTable.failureReason, 'reorganised'))
