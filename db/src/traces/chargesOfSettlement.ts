import { and, desc, eq, gt, inArray, isNotNull, lte, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Charge } from '../journal/journal.ts'
import { chargeTable } from '../journal/table.ts'
import { settlementItemTable, settlementTable } from '../settlements/table.ts'

/**
 * The newest charges that a settlement is for, at most `limit`: at its payees, made since the last confirmed settlement of
 * the grant before it, and before it was claimed. Amounts are cumulative, so this is a reading, not a ledger: a charge
 * that reached the journal after the claim is paid by the next one.
 */
export async function chargesOfSettlement(
  db: Queryable,
  settlementId: string,
  { limit, tracedOnly = false }: { limit: number; tracedOnly?: boolean },
): Promise<Charge[]> {
  const [settlement] = await db
    .select({ grantId: settlementTable.grantId, createdAt: settlementTable.createdAt })
    .from(settlementTable)
    .where(eq(settlementTable.id, settlementId))
  if (!settlement) return []
  const { grantId, createdAt } = settlement
  const [before] = await db
    .select({ createdAt: settlementTable.createdAt })
    .from(settlementTable)
    .where(
      and(
        eq(settlementTable.grantId, grantId),
        eq(settlementTable.state, 'confirmed'),
        sql`${settlementTable.createdAt} < ${createdAt.toISOString()}::timestamptz`,
      ),
    )
    .orderBy(desc(settlementTable.createdAt))
    .limit(1)
  const payees = db
    .select({ payee: settlementItemTable.payee })
    .from(settlementItemTable)
    .where(eq(settlementItemTable.settlementId, settlementId))
  return db
    .select()
    .from(chargeTable)
    .where(
      and(
        eq(chargeTable.grantId, grantId),
        inArray(chargeTable.payee, payees),
        lte(chargeTable.occurredAt, createdAt),
        before && gt(chargeTable.occurredAt, before.createdAt),
        tracedOnly ? isNotNull(chargeTable.traceId) : undefined,
      ),
    )
    .orderBy(desc(chargeTable.occurredAt))
    .limit(limit)
}
