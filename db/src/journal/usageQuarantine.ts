import { and, desc, eq, lt, sql } from 'drizzle-orm'
import { appendRefusal } from '../audit/auditEntries.ts'
import type { Queryable, Tx } from '../createDb.ts'
import { newId } from '../newId.ts'
import { appendOutbox } from '../outbox/outbox.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import type { QuarantineReason } from './quarantineReasons.ts'
import { usageQuarantineTable } from './table.ts'

/** A usage event that the journal did not take. */
export type QuarantinedUsage = {
  /** `uqr_` and a sortable id. */
  id: string
  eventId: string
  reason: QuarantineReason
  /** What did not fit, with values. */
  detail: string
  /** What came, as JSON. */
  event: unknown
  createdAt: Date
}

export type RefusedUsage = Pick<QuarantinedUsage, 'eventId' | 'reason' | 'detail' | 'event'>

/** Topic of the outbox: one message for each batch in which something was refused. */
export const usageQuarantinedTopic = 'usage.quarantined'

/**
 * Puts events aside, with an audit entry each (at most 60 a minute, as for every actor) and one message for the operator.
 * One that is there already changes nothing. Pass the transaction in which the events were judged.
 *
 * @returns those that are new
 */
export async function quarantineUsage(tx: Tx, refused: readonly RefusedUsage[]): Promise<RefusedUsage[]> {
  if (refused.length === 0) return []
  const rows = await tx
    .insert(usageQuarantineTable)
    .values(
      refused.map(({ eventId, reason, detail, event }) => ({
        id: newId('uqr'),
        eventId: eventId.slice(0, 200),
        reason,
        detail: printable(detail).slice(0, 1000),
        event,
      })),
    )
    .onConflictDoNothing({ target: usageQuarantineTable.eventId })
    .returning({ eventId: usageQuarantineTable.eventId })
  const fresh = new Set(rows.map(({ eventId }) => eventId))
  const added = refused.filter(({ eventId }) => fresh.has(eventId.slice(0, 200)))
  const [first] = added
  if (!first) return []
  for (const { eventId, reason } of added) {
    const code = `usage.${reason}`
    if (!(await appendRefusal(tx, { actor: 'journal', action: 'usage_append', subject: eventId, errorCode: code })))
      break
  }
  const reasons: Record<string, number> = {}
  for (const { reason } of added) reasons[reason] = (reasons[reason] ?? 0) + 1
  await appendOutbox(tx, {
    topic: usageQuarantinedTopic,
    merchantId: null,
    payload: { events: added.length, reasons, firstEventId: first.eventId, firstDetail: printable(first.detail) },
  })
  return added
}

/** Newest first. */
export async function listUsageQuarantine(
  db: Queryable,
  filter: PageRequest & { reason?: QuarantineReason | undefined } = {},
): Promise<Page<QuarantinedUsage>> {
  const limit = limitOf(filter)
  const rows = await db
    .select()
    .from(usageQuarantineTable)
    .where(
      and(
        filter.reason === undefined ? undefined : eq(usageQuarantineTable.reason, filter.reason),
        filter.cursor === undefined ? undefined : lt(usageQuarantineTable.id, filter.cursor),
      ),
    )
    .orderBy(desc(usageQuarantineTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

/** How many there are. */
export async function countUsageQuarantine(db: Queryable): Promise<number> {
  const [row] = await db.select({ count: sql<number>`count(*)::integer` }).from(usageQuarantineTable)
  return row?.count ?? 0
}

/** Postgres' text has no zero byte. */
function printable(text: string): string {
  return text.replaceAll('\0', '\\0')
}
