import { and, desc, eq, lt } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { isOf, type RuleHolder, type RuleVersion } from './rule.ts'
import { sentinelDryRunTable, sentinelRuleVersionTable } from './table.ts'

/** All versions of a rule, newest first. As an owner or a tenant: of theirs. */
export async function listRuleVersions(
  db: Queryable,
  { holder, id, ...page }: PageRequest & { holder: RuleHolder; id: string },
): Promise<Page<RuleVersion & { dryRunId: string | null }>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(sentinelRuleVersionTable)
    .where(
      and(
        eq(sentinelRuleVersionTable.ruleId, id),
        isOf(sentinelRuleVersionTable, holder),
        page.cursor === undefined ? undefined : lt(sentinelRuleVersionTable.version, Number(page.cursor) || 0),
      ),
    )
    .orderBy(desc(sentinelRuleVersionTable.version))
    .limit(limit + 1)
  const versions = []
  for (const { merchantId: _, account: __, ...version } of rows)
    versions.push({ ...version, dryRunId: (await lastDryRunOf(db, version)) ?? null })
  return toPage(versions, limit, ({ version }) => `${version}`)
}

/** The last dry run of a version of a rule, however it ended. */
export async function lastDryRunOf(
  db: Queryable,
  { ruleId, version }: { ruleId: string; version: number },
): Promise<string | undefined> {
  const [row] = await db
    .select({ id: sentinelDryRunTable.id })
    .from(sentinelDryRunTable)
    .where(and(eq(sentinelDryRunTable.ruleId, ruleId), eq(sentinelDryRunTable.ruleVersion, version)))
    .orderBy(desc(sentinelDryRunTable.id))
    .limit(1)
  return row?.id
}
