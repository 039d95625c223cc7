import type { Address } from '@protocolbanks/stream-protocol'
import { and, eq, inArray, isNull, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { outboxTable } from './table.ts'

/** Something to tell the outside, written in the transaction that made it true. Delivered at least once. */
export type OutboxMessage = {
  id: bigint
  topic: string
  /** Whose it is: a merchant's, or an account's owner's. Both null: the operator's. */
  merchantId: string | null
  account: Address | null
  /** JSON: bigints as strings. */
  payload: Record<string, unknown>
  /** How often it was claimed. */
  attempts: number
  /** Not claimed before this. */
  availableAt: Date
  createdAt: Date
  publishedAt: Date | null
}

/** Pass the transaction of the change that the message tells of. */
export async function appendOutbox(
  db: Queryable,
  message: {
    topic: string
    merchantId: string | null
    account?: Address | null | undefined
    payload: Record<string, unknown>
  },
): Promise<bigint> {
  const [row] = await db.insert(outboxTable).values(message).returning({ id: outboxTable.id })
  if (!row) throw new Error('Postgres returned no row for an insert.')
  return row.id
}

/**
 * Takes messages to deliver, oldest first. One that is not published within `leaseMs` can be claimed again, also when
 * its deliverer died. Several may ask at once; each message goes to one of them. Name your `topics`: those of webhooks
 * are taken by `publishWebhookEvents`. All of them without.
 */
export async function claimOutbox(
  db: Queryable,
  { limit, leaseMs, now, topics }: { limit: number; leaseMs: number; now: Date; topics?: readonly string[] },
): Promise<OutboxMessage[]> {
  const due = db
    .select({ id: outboxTable.id })
    .from(outboxTable)
    .where(
      and(
        isNull(outboxTable.publishedAt),
        sql`${outboxTable.availableAt} <= ${now.toISOString()}::timestamptz`,
        topics && inArray(outboxTable.topic, [...topics]),
      ),
    )
    .orderBy(outboxTable.availableAt, outboxTable.id)
    .limit(limit)
    .for('update', { skipLocked: true })
  const rows = await db
    .update(outboxTable)
    .set({ attempts: sql`${outboxTable.attempts} + 1`, availableAt: new Date(now.getTime() + leaseMs) })
    .where(inArray(outboxTable.id, due))
    .returning()
  return rows.toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** False when it was published before. */
export async function markPublished(db: Queryable, id: bigint, now: Date): Promise<boolean> {
  const rows = await db
    .update(outboxTable)
    .set({ publishedAt: now })
    .where(and(eq(outboxTable.id, id), isNull(outboxTable.publishedAt)))
    .returning({ id: outboxTable.id })
  return rows.length === 1
}

/** The delivery failed: try again at `availableAt`. */
export async function postponeOutbox(db: Queryable, id: bigint, availableAt: Date): Promise<void> {
  await db
    .update(outboxTable)
    .set({ availableAt })
    .where(and(eq(outboxTable.id, id), isNull(outboxTable.publishedAt)))
}
