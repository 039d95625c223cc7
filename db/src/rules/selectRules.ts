import { and, eq } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Rule } from './rule.ts'
import { sentinelRuleTable, sentinelRuleVersionTable } from './table.ts'

/** Rules with what their newest version says. */
export function selectRules(db: Queryable) {
  return db
    .select({ rule: sentinelRuleTable, terms: sentinelRuleVersionTable })
    .from(sentinelRuleTable)
    .innerJoin(
      sentinelRuleVersionTable,
      and(
        eq(sentinelRuleVersionTable.ruleId, sentinelRuleTable.id),
        eq(sentinelRuleVersionTable.version, sentinelRuleTable.version),
      ),
    )
    .$dynamic()
}

export function toRule({
  rule,
  terms,
}: {
  rule: typeof sentinelRuleTable.$inferSelect
  terms: typeof sentinelRuleVersionTable.$inferSelect
}): Rule {
  const { name, expression, scope, action, severity, blockSeconds } = terms
  return { ...rule, name, expression, scope, action, severity, blockSeconds }
}
