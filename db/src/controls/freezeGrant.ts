import { and, eq, isNull, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import type { GrantControl } from './controls.ts'
import { grantControlTable } from './table.ts'

type NewControl = Omit<GrantControl, 'id' | 'state' | 'createdAt'>

/** Freezes off-chain. A removal stays a removal: then, and only then, false. */
export async function freezeGrant(db: Queryable, { grantId, merchantId, reason, actor }: NewControl): Promise<boolean> {
  const rows = await db
    .insert(grantControlTable)
    .values({ id: newId('ctl'), grantId, merchantId, reason, actor, state: 'frozen' })
    .onConflictDoUpdate({
      target: [grantControlTable.grantId, grantControlTable.merchantId],
      set: { reason, actor, createdAt: sql`now()` },
      setWhere: eq(grantControlTable.state, 'frozen'),
    })
    .returning({ id: grantControlTable.id })
  return rows.length === 1
}

/** Lifts this merchant's (null: the operator's) off-chain freeze. A removal stays. False when there was no freeze. */
export async function unfreezeGrant(
  db: Queryable,
  { grantId, merchantId }: Pick<GrantControl, 'grantId' | 'merchantId'>,
): Promise<boolean> {
  const rows = await db
    .delete(grantControlTable)
    .where(
      and(
        eq(grantControlTable.grantId, grantId),
        merchantId === null ? isNull(grantControlTable.merchantId) : eq(grantControlTable.merchantId, merchantId),
        eq(grantControlTable.state, 'frozen'),
      ),
    )
    .returning({ id: grantControlTable.id })
  return rows.length === 1
}
