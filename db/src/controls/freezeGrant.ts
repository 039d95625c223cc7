import { and, eq, inArray, isNull, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import type { GrantControl, Holder } from './controls.ts'
import { grantControlTable } from './table.ts'

type NewControl = Omit<GrantControl, 'id' | 'state' | 'createdAt'>

/** Freezes off-chain. A removal by the same holder stays one: then, and only then, false. */
export async function freezeGrant(db: Queryable, { reason, actor, ...hold }: NewControl): Promise<boolean> {
  const rows = await db
    .insert(grantControlTable)
    .values({ ...hold, id: newId('ctl'), reason, actor, state: 'frozen' })
    .onConflictDoUpdate({
      target: [grantControlTable.grantId, grantControlTable.merchantId, grantControlTable.holder],
      set: { reason, actor, createdAt: sql`now()` },
      setWhere: eq(grantControlTable.state, 'frozen'),
    })
    .returning({ id: grantControlTable.id })
  return rows.length === 1
}

/** Lifts the off-chain freezes of these holders and no others. A removal stays. False when there was none to lift. */
export async function unfreezeGrant(
  db: Queryable,
  { grantId, merchantId, holders }: Pick<GrantControl, 'grantId' | 'merchantId'> & { holders: readonly Holder[] },
): Promise<boolean> {
  const rows = await db
    .delete(grantControlTable)
    .where(
      and(
        eq(grantControlTable.grantId, grantId),
        merchantId === null ? isNull(grantControlTable.merchantId) : eq(grantControlTable.merchantId, merchantId),
        inArray(grantControlTable.holder, [...holders]),
        eq(grantControlTable.state, 'frozen'),
      ),
    )
    .returning({ id: grantControlTable.id })
  return rows.length > 0
}
