import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, inArray } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Queryable } from '../createDb.ts'
import { type NamedSpendingLimits, type SpendingLimits, strictest, toSpendingLimits } from './spendingLimits.ts'
import { grantLimitTable } from './table.ts'

/** Whose limits they are: each sets their own, all of them hold. */
export type LimitSetter = 'owner' | 'operator'

/** What a grant may spend besides its terms: at all payees together, and at some of them. */
export type GrantLimits = {
  all?: SpendingLimits | undefined
  payees: { payee: Address; limits: SpendingLimits }[]
}

/** More payees of a grant than this have no limits of their own. */
export const maxLimitedPayees = 20

/** Replaces what this setter has set before, with an audit entry. The meter has it after the account's next mirror. */
export function setGrantLimits(
  db: Queryable,
  p: { grantId: Hex; setBy: LimitSetter; actor: string; limits: GrantLimits },
): Promise<void> {
  const { grantId, setBy, actor, limits } = p
  return db.transaction(async (tx) => {
    const before = await getGrantLimits(tx, grantId, setBy)
    const mine = and(eq(grantLimitTable.grantId, grantId), eq(grantLimitTable.setBy, setBy))
    await tx.delete(grantLimitTable).where(mine)
    const rows = [
      ...(limits.all ? [{ ...toRow(limits.all), payee: null }] : []),
      ...limits.payees.map(({ payee, limits: own }) => ({ ...toRow(own), payee })),
    ].map((row) => ({ ...row, grantId, setBy, actor }))
    if (rows.length > 0) await tx.insert(grantLimitTable).values(rows)
    await appendAudit(tx, {
      actor,
      action: 'grant_limits_change',
      subject: grantId,
      note: null,
      before: shown(before),
      after: shown(limits),
    })
  })
}

/** What one setter has set. */
export async function getGrantLimits(db: Queryable, grantId: Hex, setBy: LimitSetter): Promise<GrantLimits> {
  const mine = and(eq(grantLimitTable.grantId, grantId), eq(grantLimitTable.setBy, setBy))
  return toGrantLimits(await db.select().from(grantLimitTable).where(mine).orderBy(asc(grantLimitTable.payee)))
}

/** What holds, of all setters the strictest; grants without limits are left out. */
export async function strictestGrantLimits(db: Queryable, grantIds: readonly Hex[]): Promise<Map<Hex, GrantLimits>> {
  const byGrant = new Map<Hex, (typeof grantLimitTable.$inferSelect)[]>()
  if (grantIds.length === 0) return new Map()
  const rows = await db
    .select()
    .from(grantLimitTable)
    .where(inArray(grantLimitTable.grantId, [...grantIds]))
    .orderBy(asc(grantLimitTable.payee))
  for (const row of rows) byGrant.set(row.grantId, [...(byGrant.get(row.grantId) ?? []), row])
  return new Map([...byGrant].map(([grantId, own]) => [grantId, toGrantLimits(own)]))
}

function toGrantLimits(rows: (typeof grantLimitTable.$inferSelect)[]): GrantLimits {
  const byPayee = new Map<Address | null, NamedSpendingLimits>()
  for (const row of rows) {
    const before = byPayee.get(row.payee)
    const limits = toSpendingLimits(row)
    byPayee.set(row.payee, before ? strictest(before, limits) : limits)
  }
  return {
    all: byPayee.get(null),
    payees: [...byPayee].flatMap(([payee, limits]) => (payee === null ? [] : [{ payee, limits }])),
  }
}

function toRow(limits: SpendingLimits) {
  return {
    maxAmountPerCall: limits.maxAmountPerCall ?? null,
    maxCallsPerMinute: limits.maxCallsPerMinute ?? null,
    maxCallsPerHour: limits.maxCallsPerHour ?? null,
    maxCallsPerDay: limits.maxCallsPerDay ?? null,
    maxAmountPerMinute: limits.maxAmountPerMinute ?? null,
    maxAmountPerHour: limits.maxAmountPerHour ?? null,
    maxAmountPerDay: limits.maxAmountPerDay ?? null,
  }
}

/** JSON for the audit: amounts as strings, limits that are none left out. */
function shown({ all, payees }: GrantLimits): Record<string, unknown> {
  const plain = (limits: SpendingLimits) =>
    Object.fromEntries(
      Object.entries(limits).flatMap(([name, limit]) =>
        limit === undefined ? [] : [[name, typeof limit === 'bigint' ? limit.toString() : limit]],
      ),
    )
  return {
    all: all ? plain(all) : null,
    payees: payees.map(({ payee, limits }) => ({ payee, limits: plain(limits) })),
  }
}
