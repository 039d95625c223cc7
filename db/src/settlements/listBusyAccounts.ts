import type { Address } from '@protocolbanks/stream-protocol'
import { and, inArray } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { settlementTable } from './table.ts'

/** Which of these accounts have a settlement whose outcome is still to come: a second would compete for its nonce. */
export async function listBusyAccounts(db: Queryable, accounts: readonly Address[]): Promise<Address[]> {
  if (accounts.length === 0) return []
  const rows = await db
    .selectDistinct({ account: settlementTable.account })
    .from(settlementTable)
    .where(
      and(
        inArray(settlementTable.account, [...accounts]),
        inArray(settlementTable.state, ['intended', 'submitted', 'failed']),
      ),
    )
  return rows.map(({ account }) => account)
}
