import { and, desc, eq, lt, ne, sql } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { changeMoment, isOf, lockHolder, maxRules, type Rule, type RuleHolder, type RuleTerms } from './rule.ts'
import { selectRules, toRule } from './selectRules.ts'
import { sentinelDryRunTable, sentinelRuleTable, sentinelRuleVersionTable } from './table.ts'

/** Who changes what. As the service: the conditions here say whose it is. */
export type RuleChange = { holder: RuleHolder; actor: string; id: string }

/** A draft, with its first version and an audit entry. Undefined when the holder has as many as there may be. */
export function createRule(
  db: Queryable,
  { holder, actor, terms }: { holder: RuleHolder; actor: string; terms: RuleTerms },
): Promise<Rule | undefined> {
  return db.transaction(async (tx) => {
    await lockHolder(tx, 'rules', holder)
    const existing = and(isOf(sentinelRuleTable, holder), ne(sentinelRuleTable.state, 'deleted'))
    if ((await tx.$count(sentinelRuleTable, existing)) >= maxRules) return undefined
    const id = newId('rul')
    await tx.insert(sentinelRuleTable).values({ ...holder, id, state: 'draft', version: 1 })
    await addVersion(tx, { holder, actor, id, version: 1, terms })
    await audit(tx, { actor, id, action: 'rule_create', before: null, after: { state: 'draft', version: 1, ...terms } })
    return getRule(tx, { holder, id })
  })
}

/** A new version, which is live at once if the rule is. Undefined when there is no such rule of this holder. */
export function changeRule(
  db: Queryable,
  { terms, ...change }: RuleChange & { terms: Partial<RuleTerms> },
): Promise<Rule | undefined> {
  return changeOne(db, change, 'rule_change', async (tx, rule) => {
    const { name, expression, scope, action, severity, blockSeconds } = { ...rule, ...terms }
    const version = rule.version + 1
    const next = { name, expression, scope, action, severity, blockSeconds }
    await addVersion(tx, { ...change, version, terms: next })
    return { set: { version }, before: shown(rule), after: { state: rule.state, version, ...next } }
  })
}

/** Live, off, or deleted; with an audit entry. Undefined when there is no such rule of this holder. */
export function setRuleState(
  db: Queryable,
  { state, ...change }: RuleChange & { state: 'live' | 'off' | 'deleted' },
): Promise<Rule | undefined> {
  const action = state === 'live' ? 'rule_live' : state === 'off' ? 'rule_off' : 'rule_delete'
  return changeOne(db, change, action, async (_, rule) => {
    const { version } = rule
    return { set: { state }, before: { state: rule.state, version }, after: { state, version } }
  })
}

/** Undefined when it was deleted, or is another's. As an owner or a tenant: of theirs. */
export async function getRule(
  db: Queryable,
  { holder, id }: { holder: RuleHolder; id: string },
): Promise<Rule | undefined> {
  const [row] = await selectRules(db).where(
    and(eq(sentinelRuleTable.id, id), isOf(sentinelRuleTable, holder), ne(sentinelRuleTable.state, 'deleted')),
  )
  return row && toRule(row)
}

/** Whether a rule may find something: a sentinel may not know yet that it was switched off. */
export async function isRuleLive(db: Queryable, id: string): Promise<boolean> {
  return (
    (await db.$count(sentinelRuleTable, and(eq(sentinelRuleTable.id, id), eq(sentinelRuleTable.state, 'live')))) > 0
  )
}

/** Newest first. */
export async function listRules(
  db: Queryable,
  { holder, ...page }: PageRequest & { holder: RuleHolder },
): Promise<Page<Rule>> {
  const limit = limitOf(page)
  const rows = await selectRules(db)
    .where(
      and(
        isOf(sentinelRuleTable, holder),
        ne(sentinelRuleTable.state, 'deleted'),
        page.cursor === undefined ? undefined : lt(sentinelRuleTable.id, page.cursor),
      ),
    )
    .orderBy(desc(sentinelRuleTable.id))
    .limit(limit + 1)
  return toPage(rows.map(toRule), limit, (last) => last.id)
}

/** That this version could not be evaluated. True for the first who says so. */
export async function markRuleFailed(
  db: Queryable,
  { id, version }: { id: string; version: number },
): Promise<boolean> {
  const rows = await db
    .update(sentinelRuleTable)
    .set({ failedVersion: version })
    .where(and(eq(sentinelRuleTable.id, id), sql`${sentinelRuleTable.failedVersion} is distinct from ${version}`))
    .returning({ id: sentinelRuleTable.id })
  return rows.length === 1
}

type Outcome = {
  set: Partial<Pick<Rule, 'state' | 'version'>>
  before: Record<string, unknown>
  after: Record<string, unknown>
}

function changeOne(
  db: Queryable,
  { holder, actor, id }: RuleChange,
  action: string,
  decide: (tx: Queryable, rule: Rule) => Promise<Outcome>,
): Promise<Rule | undefined> {
  return db.transaction(async (tx) => {
    await lockHolder(tx, 'rules', holder)
    const rule = await getRule(tx, { holder, id })
    if (!rule) return undefined
    const { set, before, after } = await decide(tx, rule)
    await tx
      .update(sentinelRuleTable)
      .set({ ...set, changedAt: changeMoment })
      .where(eq(sentinelRuleTable.id, id))
    await audit(tx, { actor, id, action, before, after })
    return (await getRule(tx, { holder, id })) ?? { ...rule, ...set }
  })
}

/** With the last dry run of the same, which was made before it was stored. */
async function addVersion(
  tx: Queryable,
  { holder, actor, id, version, terms }: RuleChange & { version: number; terms: RuleTerms },
): Promise<void> {
  await tx.insert(sentinelRuleVersionTable).values({ ...holder, ...terms, ruleId: id, version, actor })
  const { expression, action, scope, blockSeconds } = terms
  const [tried] = await tx
    .select({ id: sentinelDryRunTable.id })
    .from(sentinelDryRunTable)
    .where(
      and(
        isOf(sentinelDryRunTable, holder),
        sql`${sentinelDryRunTable.ruleId} is null`,
        eq(sentinelDryRunTable.expression, expression),
        eq(sentinelDryRunTable.action, action),
        sql`${sentinelDryRunTable.scope} = ${JSON.stringify(scope)}::jsonb`,
        sql`${sentinelDryRunTable.blockSeconds} is not distinct from ${blockSeconds}::integer`,
      ),
    )
    .orderBy(desc(sentinelDryRunTable.id))
    .limit(1)
  if (!tried) return
  await tx
    .update(sentinelDryRunTable)
    .set({ ruleId: id, ruleVersion: version })
    .where(eq(sentinelDryRunTable.id, tried.id))
}

function shown({ state, version, name, expression, scope, action, severity, blockSeconds }: Rule) {
  return { state, version, name, expression, scope, action, severity, blockSeconds }
}

async function audit(
  tx: Queryable,
  {
    id,
    ...entry
  }: {
    actor: string
    id: string
    action: string
    before: Record<string, unknown> | null
    after: Record<string, unknown> | null
  },
): Promise<void> {
  await appendAudit(tx, { ...entry, subject: id, note: null })
}
