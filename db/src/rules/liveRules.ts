import type { Address } from '@protocolbanks/stream-protocol'
import { and, asc, eq, gt, gte, isNull, ne, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { merchantTable } from '../merchants/table.ts'
import type { Allowance } from './allowances.ts'
import type { Rule } from './rule.ts'
import { selectRules, toRule } from './selectRules.ts'
import { sentinelAllowTable, sentinelRuleTable } from './table.ts'

/** A rule with whom its merchant is paid at; null for others' rules. */
export type RuleForSentinel = Rule & { merchantPayee: Address | null }
export type AllowanceForSentinel = Allowance & { merchantPayee: Address | null; removedAt: Date | null }

/**
 * Rules in the order of their ids, after one, at most `limit`: with `changedSince` those that were changed since, whatever
 * their state is now; without it those that are live.
 */
export async function listRulesForSentinel(
  db: Queryable,
  { after, changedSince, limit }: { after?: string | undefined; changedSince?: Date | undefined; limit: number },
): Promise<RuleForSentinel[]> {
  const rows = await selectRules(db)
    .where(
      and(
        changedSince === undefined
          ? eq(sentinelRuleTable.state, 'live')
          : gte(sentinelRuleTable.changedAt, changedSince),
        // Drafts that never were live change nothing.
        changedSince === undefined ? undefined : ne(sentinelRuleTable.state, 'draft'),
        after === undefined ? undefined : gt(sentinelRuleTable.id, after),
      ),
    )
    .orderBy(asc(sentinelRuleTable.id))
    .limit(limit)
  const payees = await payeesOf(
    db,
    rows.map(({ rule }) => rule.merchantId),
  )
  return rows.map((row) => ({ ...toRule(row), merchantPayee: payees.get(row.rule.merchantId ?? '') ?? null }))
}

/** Entries of allow lists, in the same way: with `changedSince` also those that were removed. */
export async function listAllowancesForSentinel(
  db: Queryable,
  { after, changedSince, limit }: { after?: string | undefined; changedSince?: Date | undefined; limit: number },
): Promise<AllowanceForSentinel[]> {
  const rows = await db
    .select()
    .from(sentinelAllowTable)
    .where(
      and(
        changedSince === undefined
          ? isNull(sentinelAllowTable.removedAt)
          : gte(sentinelAllowTable.changedAt, changedSince),
        after === undefined ? undefined : gt(sentinelAllowTable.id, after),
      ),
    )
    .orderBy(asc(sentinelAllowTable.id))
    .limit(limit)
  const payees = await payeesOf(
    db,
    rows.map(({ merchantId }) => merchantId),
  )
  return rows.map(({ changedAt: _, ...row }) => ({ ...row, merchantPayee: payees.get(row.merchantId ?? '') ?? null }))
}

/** The clock that `changedSince` is told by. */
export async function readDatabaseClock(db: Queryable): Promise<Date> {
  const { rows } = await db.execute<{ now: string }>(sql`select clock_timestamp()::text as now`)
  return new Date(rows[0]?.now ?? Number.NaN)
}

async function payeesOf(db: Queryable, merchantIds: readonly (string | null)[]): Promise<Map<string, Address>> {
  const ids = [...new Set(merchantIds.filter((id) => id !== null))]
  if (ids.length === 0) return new Map()
  const rows = await db
    .select({ id: merchantTable.id, payee: merchantTable.payee })
    .from(merchantTable)
    .where(sql`${merchantTable.id} = any(${sql.param(ids)}::text[])`)
  return new Map(rows.map(({ id, payee }) => [id, payee]))
}
