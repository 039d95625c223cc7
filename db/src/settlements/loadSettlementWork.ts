import type { Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, inArray, isNotNull } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Grant } from '../grants/grant.ts'
import { selectGrants } from '../grants/selectGrants.ts'
import { grantTable } from '../grants/table.ts'
import { settlementTransactionMemberTable, settlementTransactionTable } from '../transactions/table.ts'
import type { Settlement, SettlementItem } from './settlement.ts'
import { settlementItemTable, settlementTable } from './table.ts'

/** All that a worker needs to bring a settlement to the chain. */
export type SettlementWork = {
  settlement: Settlement
  items: SettlementItem[]
  grant: Grant
  /** Those it was in, oldest first, with the hashes of all their versions: any may be included, now or later. */
  transactions: { id: string; hashes: Hex[] }[]
}

/** At most a batch's worth of ids. Settlements that do not exist are left out. */
export async function loadSettlementWork(db: Queryable, ids: readonly string[]): Promise<SettlementWork[]> {
  if (ids.length === 0) return []
  const settlements = await db
    .select()
    .from(settlementTable)
    .where(inArray(settlementTable.id, [...ids]))
    .orderBy(asc(settlementTable.id))
  const items = await db
    .select()
    .from(settlementItemTable)
    .where(inArray(settlementItemTable.settlementId, [...ids]))
    .orderBy(asc(settlementItemTable.settlementId), asc(settlementItemTable.payee))
  const grants = await selectGrants(
    db,
    inArray(
      grantTable.grantId,
      settlements.map(({ grantId }) => grantId),
    ),
    ids.length,
  )
  const transactions = await db
    .select({
      settlementId: settlementTransactionMemberTable.settlementId,
      id: settlementTransactionTable.id,
      hashes: settlementTransactionTable.hashes,
    })
    .from(settlementTransactionMemberTable)
    .innerJoin(
      settlementTransactionTable,
      eq(settlementTransactionTable.id, settlementTransactionMemberTable.transactionId),
    )
    .where(
      and(
        inArray(settlementTransactionMemberTable.settlementId, [...ids]),
        isNotNull(settlementTransactionTable.rawTransaction),
      ),
    )
    .orderBy(asc(settlementTransactionTable.id))
  return settlements.map((settlement) => {
    const grant = grants.find(({ grantId }) => grantId === settlement.grantId)
    if (!grant) throw new Error(`The settlement ${settlement.id} has no grant ${settlement.grantId}.`)
    const isIts = ({ settlementId }: { settlementId: string }) => settlementId === settlement.id
    return {
      settlement,
      items: items.filter(isIts),
      grant,
      transactions: transactions.filter(isIts).map(({ id, hashes }) => ({ id, hashes })),
    }
  })
}
