import { desc, getTableColumns, type SQL } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { effectiveStatus, ofAccount, ownerFrozen } from './effectiveStatus.ts'
import type { Grant } from './grant.ts'
import { accountTable, grantTable } from './table.ts'

/** Grants with everything that stops them, newest first. */
export function selectGrants(db: Queryable, condition: SQL | undefined, limit: number): Promise<Grant[]> {
  const { updatedAt: _, raisedBlock: __, ...columns } = getTableColumns(grantTable)
  return db
    .select({ ...columns, effectiveStatus, ownerFrozen })
    .from(grantTable)
    .leftJoin(accountTable, ofAccount)
    .where(condition)
    .orderBy(desc(grantTable.createdAt), desc(grantTable.grantId))
    .limit(limit)
}
