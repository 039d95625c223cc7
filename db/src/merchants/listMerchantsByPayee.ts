import { type Address, maxClaims } from '@protocolbanks/stream-protocol'
import { inArray } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Merchant } from './merchants.ts'
import { merchantTable } from './table.ts'

/** The merchants who are paid at these addresses, at most as many as a settlement has claims. Unknown payees are left out. */
export async function listMerchantsByPayee(db: Queryable, payees: readonly Address[]): Promise<Merchant[]> {
  if (payees.length === 0) return []
  return db
    .select()
    .from(merchantTable)
    .where(inArray(merchantTable.payee, [...payees]))
    .limit(maxClaims)
}
