import type { Address } from '@protocolbanks/stream-protocol'
import { and, asc, eq, inArray, isNull, lte, or } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { loadSettlementWork, type SettlementWork } from '../settlements/loadSettlementWork.ts'
import { openStates } from '../settlements/settlement.ts'
import { settlementTable } from '../settlements/table.ts'
import type { SettlementTransaction } from './settlementTransaction.ts'
import { settlementTransactionMemberTable, settlementTransactionTable } from './table.ts'

export type LeasedTransaction =
  /** The sender is free. */
  | { kind: 'none' }
  /** Another worker drives the sender's open transaction. */
  | { kind: 'busy' }
  /** Now ours, with those of its settlements that are open and nobody else works on, in the call data's order. */
  | { kind: 'leased'; transaction: SettlementTransaction; works: SettlementWork[] }

/** Takes up the sender's open transaction, if its worker is gone or we are that worker. */
export function leaseOpenTransaction(
  db: Queryable,
  { sender, owner, leaseMs, now }: { sender: Address; owner: string; leaseMs: number; now: Date },
): Promise<LeasedTransaction> {
  const lease = { leaseOwner: owner, leaseUntil: new Date(now.getTime() + leaseMs) }
  return db.transaction(async (tx) => {
    const [open] = await tx
      .select()
      .from(settlementTransactionTable)
      .where(and(eq(settlementTransactionTable.sender, sender), eq(settlementTransactionTable.state, 'open')))
      .for('update', { skipLocked: true })
    if (!open) return { kind: (await hasOpen(tx, sender)) ? 'busy' : 'none' }
    const isFree = open.leaseUntil === null || open.leaseUntil <= now || open.leaseOwner === owner
    if (!isFree) return { kind: 'busy' }
    await tx.update(settlementTransactionTable).set(lease).where(eq(settlementTransactionTable.id, open.id))
    const members = await tx
      .select({ id: settlementTransactionMemberTable.settlementId })
      .from(settlementTransactionMemberTable)
      .where(eq(settlementTransactionMemberTable.transactionId, open.id))
      .orderBy(asc(settlementTransactionMemberTable.position))
    const ids = members.map(({ id }) => id)
    const ours =
      ids.length === 0
        ? []
        : await tx
            .update(settlementTable)
            .set(lease)
            .where(
              and(
                inArray(settlementTable.id, ids),
                inArray(settlementTable.state, [...openStates]),
                or(
                  isNull(settlementTable.leaseUntil),
                  lte(settlementTable.leaseUntil, now),
                  eq(settlementTable.leaseOwner, owner),
                ),
              ),
            )
            .returning({ id: settlementTable.id })
    const works = await loadSettlementWork(
      tx,
      ours.map(({ id }) => id),
    )
    const placeOf = ({ settlement }: SettlementWork) => ids.indexOf(settlement.id)
    return {
      kind: 'leased',
      transaction: { ...open, ...lease },
      works: works.toSorted((a, b) => placeOf(a) - placeOf(b)),
    }
  })
}

/** Another worker may just be leasing it. */
async function hasOpen(tx: Queryable, sender: Address): Promise<boolean> {
  const rows = await tx
    .select({ id: settlementTransactionTable.id })
    .from(settlementTransactionTable)
    .where(and(eq(settlementTransactionTable.sender, sender), eq(settlementTransactionTable.state, 'open')))
  return rows.length > 0
}
