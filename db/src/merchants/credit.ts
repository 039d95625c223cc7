import { eq, sql } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Queryable } from '../createDb.ts'
import { merchantCreditTable, merchantTable } from './table.ts'

/** What a merchant serves on credit, to grants that are paid from an allowance. Base units; undefined is no limit. */
export type CreditPolicy = {
  /** `reserve_only`: nothing, and there are no limits then. */
  mode: 'credit' | 'reserve_only'
  /** What may be owed and not settled: by all accounts, by one account, by one grant. */
  maxTotal?: bigint | undefined
  maxPerAccount?: bigint | undefined
  maxPerGrant?: bigint | undefined
}

/** `version` rises with every change; 0: the merchant has chosen nothing. */
export type MerchantCredit = CreditPolicy & { version: number }

/** Of merchants who have chosen nothing. */
export const defaultCredit: MerchantCredit = Object.freeze({ mode: 'credit', version: 0 })

export async function getMerchantCredit(db: Queryable, merchantId: string): Promise<MerchantCredit> {
  const [row] = await db.select().from(merchantCreditTable).where(eq(merchantCreditTable.merchantId, merchantId))
  return toMerchantCredit(row)
}

/** Replaces the merchant's choice, with an audit entry. Undefined when there is no such merchant. */
export function setMerchantCredit(
  db: Queryable,
  { merchantId, actor, ...policy }: CreditPolicy & { merchantId: string; actor: string },
): Promise<MerchantCredit | undefined> {
  return db.transaction(async (tx) => {
    // Two changes at once are two versions, in their order.
    const [merchant] = await tx.select().from(merchantTable).where(eq(merchantTable.id, merchantId)).for('update')
    if (!merchant) return undefined
    const before = await getMerchantCredit(tx, merchantId)
    const values = {
      mode: policy.mode,
      maxTotal: policy.maxTotal ?? null,
      maxPerAccount: policy.maxPerAccount ?? null,
      maxPerGrant: policy.maxPerGrant ?? null,
    }
    // Milliseconds, so that a version is not given twice should the row ever be lost.
    const nextVersion = sql<number>`greatest(${before.version + 1}, floor(extract(epoch from now()) * 1000))::bigint`
    const [row] = await tx
      .insert(merchantCreditTable)
      .values({ merchantId, ...values, version: nextVersion })
      .onConflictDoUpdate({
        target: merchantCreditTable.merchantId,
        set: { ...values, version: nextVersion, updatedAt: sql`now()` },
      })
      .returning()
    const after = toMerchantCredit(row)
    await appendAudit(tx, {
      actor,
      action: 'credit_change',
      subject: merchantId,
      note: null,
      before: shown(before),
      after: shown(after),
    })
    return after
  })
}

export function toMerchantCredit(row: typeof merchantCreditTable.$inferSelect | null | undefined): MerchantCredit {
  if (!row) return defaultCredit
  const { mode, version } = row
  return {
    mode,
    maxTotal: row.maxTotal ?? undefined,
    maxPerAccount: row.maxPerAccount ?? undefined,
    maxPerGrant: row.maxPerGrant ?? undefined,
    version,
  }
}

function shown({ mode, version, ...limits }: MerchantCredit): Record<string, unknown> {
  const amounts = Object.entries(limits).map(([name, amount]) => [name, amount?.toString() ?? null])
  return { mode, version, ...Object.fromEntries(amounts) }
}
