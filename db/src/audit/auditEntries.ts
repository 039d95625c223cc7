import { and, desc, eq, lt, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { auditEntryTable } from './table.ts'

/** Who did what to what, when and why; or tried to. Never changed, never deleted. */
export type AuditEntry = {
  /** `aud_` and a sortable id. */
  id: string
  /** An API key's id, `operator` for the key of the configuration, `unknown` for a key that is none. */
  actor: string
  /** For instance `settlement_retry`. */
  action: string
  outcome: 'done' | 'refused'
  /** An id, or the route that was refused. */
  subject: string
  /** Why, in the operator's words. */
  note: string | null
  /** Of a refusal. */
  errorCode: string | null
  /** The subject before and after; null where nothing changed. JSON: bigints as strings. */
  before: Record<string, unknown> | null
  after: Record<string, unknown> | null
  /** The request that did it, by its `x-request-id`; null: none of the management API. */
  requestId: string | null
  createdAt: Date
}

type Done = Pick<AuditEntry, 'actor' | 'action' | 'subject' | 'note' | 'before' | 'after'>
type Refused = Pick<AuditEntry, 'actor' | 'action' | 'subject' | 'errorCode'>

/** Refusals of one actor within a minute that are written down; more than that tell nothing new. */
export const maxRefusalsPerMinute = 60

/** What was done. Pass the transaction that did it. */
export async function appendAudit(db: Queryable, entry: Done): Promise<string> {
  const id = newId('aud')
  await db.insert(auditEntryTable).values({ ...entry, id, outcome: 'done' })
  return id
}

/** What was refused. False when the actor has had so many refusals in this minute that this one is left out. */
export async function appendRefusal(db: Queryable, { actor, action, subject, errorCode }: Refused): Promise<boolean> {
  const { rowCount } = await db.execute(sql`
    insert into audit_entry (id, actor, action, outcome, subject, error_code)
    select ${newId('aud')}, ${actor}, ${action}, 'refused', ${subject.slice(0, 300)}, ${errorCode}
    where (
      select count(*) from audit_entry
      where actor = ${actor} and outcome = 'refused' and created_at > now() - interval '1 minute'
    ) < ${maxRefusalsPerMinute}`)
  return rowCount === 1
}

/** Newest first. */
export async function listAudit(
  db: Queryable,
  filter: PageRequest & { subject?: string | undefined; requestId?: string | undefined } = {},
): Promise<Page<AuditEntry>> {
  const limit = limitOf(filter)
  const rows = await db
    .select()
    .from(auditEntryTable)
    .where(
      and(
        filter.subject === undefined ? undefined : eq(auditEntryTable.subject, filter.subject),
        filter.requestId === undefined ? undefined : eq(auditEntryTable.requestId, filter.requestId),
        filter.cursor === undefined ? undefined : lt(auditEntryTable.id, filter.cursor),
      ),
    )
    .orderBy(desc(auditEntryTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}
