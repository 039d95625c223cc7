import { and, asc, desc, eq, inArray, isNull, lt, or, sql } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Db, Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import type { DryRunResult } from './dryRunResult.ts'
import { isOf, lockHolder, type RuleHolder, type RuleTerms } from './rule.ts'
import { sentinelDryRunTable } from './table.ts'

/** What a rule would have done in a time that is past. */
export type DryRun = RuleHolder &
  Pick<RuleTerms, 'expression' | 'scope' | 'action' | 'blockSeconds'> & {
    /** `dry_` and a sortable id. */
    id: string
    ruleId: string | null
    ruleVersion: number | null
    /** [from, until) of the journal. */
    fromAt: Date
    untilAt: Date
    state: 'pending' | 'done' | 'failed'
    result: DryRunResult | null
    error: string | null
    actor: string
    createdAt: Date
    finishedAt: Date | null
  }

/** Of one holder: more have to wait, and older ones are forgotten. */
export const maxPendingDryRuns = 3
export const maxDryRuns = 50
/** Who has it in hand died so often: it is not tried again. */
const maxAttempts = 3

type NewDryRun = Pick<
  DryRun,
  'expression' | 'scope' | 'action' | 'blockSeconds' | 'ruleId' | 'ruleVersion' | 'fromAt' | 'untilAt'
>

/** With an audit entry. Undefined when as many are pending as there may be. */
export function createDryRun(
  db: Queryable,
  { holder, actor, ...run }: NewDryRun & { holder: RuleHolder; actor: string },
): Promise<DryRun | undefined> {
  return db.transaction(async (tx) => {
    await lockHolder(tx, 'dryRuns', holder)
    const mine = isOf(sentinelDryRunTable, holder)
    const pending = await tx.$count(sentinelDryRunTable, and(mine, eq(sentinelDryRunTable.state, 'pending')))
    if (pending >= maxPendingDryRuns) return undefined
    const old = tx
      .select({ id: sentinelDryRunTable.id })
      .from(sentinelDryRunTable)
      .where(mine)
      .orderBy(desc(sentinelDryRunTable.id))
      .offset(maxDryRuns - 1)
    await tx.delete(sentinelDryRunTable).where(inArray(sentinelDryRunTable.id, old))
    const [row] = await tx
      .insert(sentinelDryRunTable)
      .values({ ...holder, ...run, id: newId('dry'), state: 'pending', actor })
      .returning()
    if (!row) throw new Error('Postgres returned no row for an insert.')
    const { expression, action, ruleId } = run
    const after = { expression, action, ruleId }
    await appendAudit(tx, { actor, action: 'rule_dry_run', subject: row.id, note: null, before: null, after })
    return toDryRun(row)
  })
}

/** As an owner or a tenant: of theirs. */
export async function getDryRun(
  db: Queryable,
  { holder, id }: { holder: RuleHolder; id: string },
): Promise<DryRun | undefined> {
  const [row] = await db
    .select()
    .from(sentinelDryRunTable)
    .where(and(eq(sentinelDryRunTable.id, id), isOf(sentinelDryRunTable, holder)))
  return row && toDryRun(row)
}

/** Newest first. */
export async function listDryRuns(
  db: Queryable,
  { holder, ...page }: PageRequest & { holder: RuleHolder },
): Promise<Page<DryRun>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(sentinelDryRunTable)
    .where(
      and(
        isOf(sentinelDryRunTable, holder),
        page.cursor === undefined ? undefined : lt(sentinelDryRunTable.id, page.cursor),
      ),
    )
    .orderBy(desc(sentinelDryRunTable.id))
    .limit(limit + 1)
  return toPage(rows.map(toDryRun), limit, (last) => last.id)
}

type Lease = { owner: string; now: Date }

/** The oldest that nobody works on, for `leaseMs`. Those whose workers died too often fail. */
export function leaseDryRun(db: Db, { owner, now, leaseMs }: Lease & { leaseMs: number }): Promise<DryRun | undefined> {
  return db.transaction(async (tx) => {
    const free = or(isNull(sentinelDryRunTable.leaseUntil), lt(sentinelDryRunTable.leaseUntil, now))
    const [row] = await tx
      .select()
      .from(sentinelDryRunTable)
      .where(and(eq(sentinelDryRunTable.state, 'pending'), free))
      .orderBy(asc(sentinelDryRunTable.id))
      .limit(1)
      .for('update', { skipLocked: true })
    if (!row) return undefined
    const { id, attempts } = row
    if (attempts >= maxAttempts) {
      const error = `Whoever worked on it stopped ${attempts} times before its end.`
      await tx
        .update(sentinelDryRunTable)
        .set({ state: 'failed', error, finishedAt: now })
        .where(eq(sentinelDryRunTable.id, id))
      return undefined
    }
    const leaseUntil = new Date(now.getTime() + leaseMs)
    await tx
      .update(sentinelDryRunTable)
      .set({ leaseOwner: owner, leaseUntil, attempts: sql`${sentinelDryRunTable.attempts} + 1` })
      .where(eq(sentinelDryRunTable.id, id))
    return toDryRun(row)
  })
}

/** The end of one that `owner` works on. False when another does by now. */
export async function finishDryRun(
  db: Queryable,
  { id, owner, now, outcome }: Lease & { id: string; outcome: { result: DryRunResult } | { error: string } },
): Promise<boolean> {
  const set =
    'result' in outcome
      ? { state: 'done' as const, result: outcome.result }
      : { state: 'failed' as const, error: outcome.error.slice(0, 500) || 'It failed.' }
  const rows = await db
    .update(sentinelDryRunTable)
    .set({ ...set, finishedAt: now })
    .where(
      and(
        eq(sentinelDryRunTable.id, id),
        eq(sentinelDryRunTable.leaseOwner, owner),
        eq(sentinelDryRunTable.state, 'pending'),
      ),
    )
    .returning({ id: sentinelDryRunTable.id })
  return rows.length === 1
}

function toDryRun({
  leaseOwner: _,
  leaseUntil: __,
  attempts: ___,
  ...run
}: typeof sentinelDryRunTable.$inferSelect): DryRun {
  return run
}
