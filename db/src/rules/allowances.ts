import { and, desc, eq, isNull, lt } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { changeMoment, isOf, lockHolder, type RuleHolder } from './rule.ts'
import { sentinelAllowTable } from './table.ts'

/** What its holder's own rules never stop, nor, of an owner or the operator, the score of the behaviour. */
export type Allowance = RuleHolder & {
  /** `alw_` and a sortable id. */
  id: string
  kind: 'grant' | 'payee' | 'service'
  /** A grant id or a payee in lower case, or the id of a service. */
  value: string
  actor: string
  createdAt: Date
}

export const maxAllowances = 100
/** Sentinels have seen long before that an entry is gone. */
const removedKeptMs = 3_600_000

/** With an audit entry. What is there already is answered as it is. `too_many` when the list is full. */
export function addAllowance(
  db: Queryable,
  { holder, actor, kind, value }: { holder: RuleHolder } & Pick<Allowance, 'actor' | 'kind' | 'value'>,
): Promise<Allowance | 'too_many'> {
  return db.transaction(async (tx) => {
    await lockHolder(tx, 'allowances', holder)
    const mine = and(isOf(sentinelAllowTable, holder), isNull(sentinelAllowTable.removedAt))
    const same = and(mine, eq(sentinelAllowTable.kind, kind), eq(sentinelAllowTable.value, value))
    const [known] = await tx.select().from(sentinelAllowTable).where(same)
    if (known) return toAllowance(known)
    if ((await tx.$count(sentinelAllowTable, mine)) >= maxAllowances) return 'too_many'
    const [row] = await tx
      .insert(sentinelAllowTable)
      .values({ ...holder, id: newId('alw'), kind, value, actor, changedAt: changeMoment })
      .returning()
    if (!row) throw new Error('Postgres returned no row for an insert.')
    await appendAudit(tx, {
      actor,
      action: 'allowance_add',
      subject: row.id,
      note: null,
      before: null,
      after: { kind, value },
    })
    return toAllowance(row)
  })
}

/** With an audit entry. False when there is no such entry of this holder. */
export function removeAllowance(
  db: Queryable,
  { holder, actor, id, now }: { holder: RuleHolder; actor: string; id: string; now: Date },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [row] = await tx
      .update(sentinelAllowTable)
      .set({ removedAt: now, changedAt: changeMoment })
      .where(and(eq(sentinelAllowTable.id, id), isOf(sentinelAllowTable, holder), isNull(sentinelAllowTable.removedAt)))
      .returning()
    if (!row) return false
    await tx
      .delete(sentinelAllowTable)
      .where(
        and(
          isOf(sentinelAllowTable, holder),
          lt(sentinelAllowTable.removedAt, new Date(now.getTime() - removedKeptMs)),
        ),
      )
    const { kind, value } = row
    const entry = { actor, action: 'allowance_remove', subject: id, note: null }
    await appendAudit(tx, { ...entry, before: { kind, value }, after: null })
    return true
  })
}

/** Newest first. As an owner or a tenant: theirs. */
export async function listAllowances(
  db: Queryable,
  { holder, ...page }: PageRequest & { holder: RuleHolder },
): Promise<Page<Allowance>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(sentinelAllowTable)
    .where(
      and(
        isOf(sentinelAllowTable, holder),
        isNull(sentinelAllowTable.removedAt),
        page.cursor === undefined ? undefined : lt(sentinelAllowTable.id, page.cursor),
      ),
    )
    .orderBy(desc(sentinelAllowTable.id))
    .limit(limit + 1)
  return toPage(rows.map(toAllowance), limit, (last) => last.id)
}

function toAllowance({ changedAt: _, removedAt: __, ...allowance }: typeof sentinelAllowTable.$inferSelect): Allowance {
  return allowance
}
