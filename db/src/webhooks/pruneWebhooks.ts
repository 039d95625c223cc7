import { inArray, lt } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { outboxTable } from '../outbox/table.ts'
import { webhookEventTable } from './table.ts'

/**
 * Forgets events from before `before` with their deliveries, delivered or not, and messages that were published before
 * it, whoever published them; at most `limit` of each. Says how many rows that were; call again while it is not 0.
 */
export async function pruneWebhooks(
  db: Queryable,
  { before, limit }: { before: Date; limit: number },
): Promise<number> {
  const oldEvents = db
    .select({ id: webhookEventTable.id })
    .from(webhookEventTable)
    .where(lt(webhookEventTable.createdAt, before))
    .limit(limit)
  const events = await db
    .delete(webhookEventTable)
    .where(inArray(webhookEventTable.id, oldEvents))
    .returning({ id: webhookEventTable.id })
  const oldMessages = db
    .select({ id: outboxTable.id })
    .from(outboxTable)
    .where(lt(outboxTable.publishedAt, before))
    .limit(limit)
  const messages = await db
    .delete(outboxTable)
    .where(inArray(outboxTable.id, oldMessages))
    .returning({ id: outboxTable.id })
  return events.length + messages.length
}
