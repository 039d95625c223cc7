import { isNull, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { outboxTable } from '../outbox/table.ts'
import { isKnown, type WebhookTopics } from './publishWebhookEvents.ts'

/** Messages of one topic that nobody has taken yet. */
export type WaitingMessages = {
  topic: string
  /** False: no webhook is made of it, whoever's it is. It stays where it is until somebody takes it. */
  isKnown: boolean
  count: number
  oldestAt: Date
}

/** More are not counted, and not more topics told. */
const maxCounted = 10_000
const maxTopics = 50

/** What is in the outbox and not published, by topic, the most first. Counts the oldest 10,000 at most. */
export async function countWaitingMessages(db: Queryable, topics: WebhookTopics): Promise<WaitingMessages[]> {
  const waiting = db
    .select({
      topic: outboxTable.topic,
      createdAt: outboxTable.createdAt,
      known: sql<boolean>`${isKnown(topics)}`.as('known'),
    })
    .from(outboxTable)
    .where(isNull(outboxTable.publishedAt))
    .orderBy(outboxTable.availableAt, outboxTable.id)
    .limit(maxCounted)
    .as('waiting')
  return db
    .select({
      topic: waiting.topic,
      isKnown: waiting.known,
      count: sql<number>`count(*)::integer`,
      oldestAt: sql`min(${waiting.createdAt})`.mapWith(outboxTable.createdAt),
    })
    .from(waiting)
    .groupBy(waiting.topic, waiting.known)
    .orderBy(sql`count(*) desc`, waiting.topic)
    .limit(maxTopics)
}
