import type { Hex } from '@protocolbanks/stream-protocol'
import { and, asc, desc, eq, isNull, lt, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { isUniqueViolation } from '../errors.ts'
import { newId } from '../newId.ts'
import { appendOutbox } from '../outbox/outbox.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import {
  type Difference,
  type DifferenceKind,
  maxKeptDifferences,
  type Reconciliation,
  type ReconciliationTotals,
} from './reconciliation.ts'
import { reconciliationDifferenceTable, reconciliationTable } from './table.ts'

/** Topic of the operator's alert about a reconciliation that found differences. */
export const reconciliationAlert = 'reconciliation.difference'

/** Asks for one; the same again while it waits answers the one that waits. The next free process takes it up. */
export async function requestReconciliation(
  db: Queryable,
  { grantId, actor }: { grantId: Hex | null; actor: string },
): Promise<Reconciliation> {
  const [waiting] = await db
    .select()
    .from(reconciliationTable)
    .where(
      and(
        eq(reconciliationTable.state, 'requested'),
        grantId === null ? isNull(reconciliationTable.grantId) : eq(reconciliationTable.grantId, grantId),
      ),
    )
    .limit(1)
  if (waiting) return waiting
  const [row] = await db
    .insert(reconciliationTable)
    .values({ id: newId('rec'), state: 'requested', trigger: 'request', grantId, actor })
    .returning()
  if (!row) throw new Error('Postgres returned no row for an insert.')
  return row
}

/**
 * Takes up one that is due: whose process died, else the oldest that was asked for, else the scheduled one when none was
 * begun for `intervalMs`. Undefined when nothing is due, or another process has one: there is one at a time.
 */
export async function claimReconciliation(
  db: Queryable,
  { owner, leaseMs, intervalMs, now }: { owner: string; leaseMs: number; intervalMs: number; now: Date },
): Promise<Reconciliation | undefined> {
  const nowIso = now.toISOString()
  const lease = { leaseOwner: owner, leaseUntil: new Date(now.getTime() + leaseMs) }
  try {
    return await db.transaction(async (tx) => {
      const { rows } = await tx.execute<{ id: string }>(sql`
        select id from reconciliation
        where state = 'running' and lease_until <= ${nowIso}::timestamptz
          or state = 'requested' and not exists (select from reconciliation where state = 'running')
        order by state = 'running' desc, id limit 1
        for update skip locked`)
      const due = rows[0]?.id ?? (await schedule(tx, { now, intervalMs }))
      if (due === undefined) return undefined
      const [claimed] = await tx
        .update(reconciliationTable)
        .set({ state: 'running', ...lease })
        .where(eq(reconciliationTable.id, due))
        .returning()
      return claimed
    })
  } catch (error) {
    // Another process was faster.
    if (isUniqueViolation(error, 'reconciliation_one_running')) return undefined
    throw error
  }
}

/** The scheduled one, if it is time for it and there is a mirror to compare. One that failed is due again after a minute. */
async function schedule(
  tx: Queryable,
  { now, intervalMs }: { now: Date; intervalMs: number },
): Promise<string | undefined> {
  const id = newId('rec')
  const since = (ms: number) => sql`${new Date(now.getTime() - ms).toISOString()}::timestamptz`
  const { rowCount } = await tx.execute(sql`
    insert into reconciliation (id, state, trigger, actor, created_at)
    select ${id}, 'requested', 'schedule', 'schedule', ${now.toISOString()}::timestamptz
    where exists (select from indexer_cursor)
      and not exists (select from reconciliation where state = 'running')
      and not exists (
        select from reconciliation where trigger = 'schedule' and created_at > ${since(intervalMs)}
          and (state <> 'failed' or created_at > ${since(Math.min(intervalMs, retryFailedMs))}))`)
  return rowCount === 1 ? id : undefined
}

const retryFailedMs = 60_000

type Held = { id: string; owner: string }

/** False when the lease went to somebody else: stop. */
export async function renewReconciliation(
  db: Queryable,
  { id, owner, until }: Held & { until: Date },
): Promise<boolean> {
  return change(db, { id, owner }, { leaseUntil: until })
}

/**
 * Ends it with what was found, and tells the operator of differences through the outbox, in one transaction. Differences
 * above 1,000 are counted and not kept. False when the lease went to somebody else.
 */
export function finishReconciliation(
  db: Queryable,
  outcome: Held & { blockNumber: bigint; totals: ReconciliationTotals; differences: readonly Difference[]; now: Date },
): Promise<boolean> {
  const { id, owner, blockNumber, totals, differences, now } = outcome
  return db.transaction(async (tx) => {
    const end = {
      state: 'done',
      blockNumber,
      totals,
      differences: differences.length,
      finishedAt: now,
      ...released,
    } as const
    if (!(await change(tx, { id, owner }, end))) return false
    if (differences.length === 0) return true
    const kept = differences.slice(0, maxKeptDifferences)
    await tx
      .insert(reconciliationDifferenceTable)
      .values(kept.map((difference, position) => ({ ...difference, reconciliationId: id, position })))
    const payload = {
      reconciliationId: id,
      blockNumber: blockNumber.toString(),
      differences: differences.length,
      first: kept.slice(0, differencesInAlert).map(({ expected, actual, ...difference }) => ({
        ...difference,
        expectedAtomic: expected.toString(),
        actualAtomic: actual.toString(),
      })),
    }
    await appendOutbox(tx, { topic: reconciliationAlert, merchantId: null, payload })
    return true
  })
}

const differencesInAlert = 10

/** It could not be compared. False when the lease went to somebody else. */
export function failReconciliation(
  db: Queryable,
  { id, owner, errorCode, errorMessage, now }: Held & { errorCode: string; errorMessage: string; now: Date },
): Promise<boolean> {
  const end = { state: 'failed', errorCode, errorMessage: errorMessage.slice(0, 2_000), finishedAt: now } as const
  return change(db, { id, owner }, { ...end, ...released })
}

export async function getReconciliation(db: Queryable, id: string): Promise<Reconciliation | undefined> {
  const [row] = await db.select().from(reconciliationTable).where(eq(reconciliationTable.id, id))
  return row
}

/** Newest first. */
export async function listReconciliations(db: Queryable, page: PageRequest = {}): Promise<Page<Reconciliation>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(reconciliationTable)
    .where(page.cursor === undefined ? undefined : lt(reconciliationTable.id, page.cursor))
    .orderBy(desc(reconciliationTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

/** The newest of all grants that was done, or that was done and found nothing. */
export async function newestReconciliation(
  db: Queryable,
  { clean = false }: { clean?: boolean } = {},
): Promise<Reconciliation | undefined> {
  const [row] = await db
    .select()
    .from(reconciliationTable)
    .where(
      and(
        eq(reconciliationTable.state, 'done'),
        isNull(reconciliationTable.grantId),
        clean ? eq(reconciliationTable.differences, 0) : undefined,
      ),
    )
    .orderBy(desc(reconciliationTable.id))
    .limit(1)
  return row
}

/** As many as are kept, in the order in which they were found. */
export async function listDifferences(db: Queryable, reconciliationId: string): Promise<Difference[]> {
  const rows = await db
    .select()
    .from(reconciliationDifferenceTable)
    .where(eq(reconciliationDifferenceTable.reconciliationId, reconciliationId))
    .orderBy(asc(reconciliationDifferenceTable.position))
    .limit(maxKeptDifferences)
  return rows.map(({ reconciliationId: _, position: __, ...row }) => ({ ...row, kind: row.kind as DifferenceKind }))
}

const released = { leaseOwner: null, leaseUntil: null }

async function change(
  db: Queryable,
  { id, owner }: Held,
  values: Parameters<ReturnType<typeof updateOf>['set']>[0],
): Promise<boolean> {
  const rows = await updateOf(db)
    .set(values)
    .where(
      and(
        eq(reconciliationTable.id, id),
        eq(reconciliationTable.leaseOwner, owner),
        eq(reconciliationTable.state, 'running'),
      ),
    )
    .returning({ id: reconciliationTable.id })
  return rows.length === 1
}

function updateOf(db: Queryable) {
  return db.update(reconciliationTable)
}
