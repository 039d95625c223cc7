import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, eq } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Grant } from './grant.ts'
import { selectGrants } from './selectGrants.ts'
import { grantTable } from './table.ts'

/** The newest grant of an account with these packed terms: a settlement's call data names the terms, not the id. */
export async function findGrantByTerms(
  db: Queryable,
  { account, packedTerms }: { account: Address; packedTerms: Hex },
): Promise<Grant | undefined> {
  const [grant] = await selectGrants(
    db,
    and(eq(grantTable.account, account), eq(grantTable.packedTerms, packedTerms)),
    1,
  )
  return grant
}
