import { and, asc, eq, inArray, isNotNull, isNull, or, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { outboxTable } from '../outbox/table.ts'
import { ofRecipient } from './ofRecipient.ts'
import { webhookDeliveryTable, webhookEndpointTable, webhookEventTable } from './table.ts'

/** Topics that are events of webhooks, by whose messages they are on. */
export type WebhookTopics = Readonly<Record<'merchant' | 'owner' | 'operator', readonly string[]>>

export type PublishOptions = {
  /** Other messages stay in the outbox. */
  topics: WebhookTopics
  /** Messages at once. */
  limit: number
  /** When the deliveries are due. */
  now: Date
  /** Of each delivery. */
  maxAttempts: number
}

/**
 * Turns messages of the outbox into events, and a delivery for each enabled endpoint of their recipient that wants
 * them, in one transaction: each message once, however many ask. An event that nobody wants is not kept.
 *
 * @returns how many messages were taken; as many as `limit`: there may be more
 */
export function publishWebhookEvents(
  db: Queryable,
  { topics, limit, now, maxAttempts }: PublishOptions,
): Promise<number> {
  return db.transaction(async (tx) => {
    const messages = await tx
      .select()
      .from(outboxTable)
      .where(and(isNull(outboxTable.publishedAt), sql`${outboxTable.availableAt} <= now()`, isKnown(topics)))
      .orderBy(asc(outboxTable.availableAt), asc(outboxTable.id))
      .limit(limit)
      .for('update', { skipLocked: true })
    for (const { topic, merchantId, account, payload, createdAt } of messages) {
      const whose = { merchantId, account }
      const endpoints = await tx
        .select({ id: webhookEndpointTable.id })
        .from(webhookEndpointTable)
        .where(
          and(
            ofRecipient(webhookEndpointTable, whose),
            eq(webhookEndpointTable.state, 'enabled'),
            or(isNull(webhookEndpointTable.eventTypes), sql`${topic} = any(${webhookEndpointTable.eventTypes})`),
          ),
        )
        // One that is deleted meanwhile takes its deliveries along, and does not fail this.
        .for('key share')
      if (endpoints.length === 0) continue
      const id = newId('whev')
      await tx.insert(webhookEventTable).values({ id, ...whose, type: topic, data: payload, occurredAt: createdAt })
      await tx.insert(webhookDeliveryTable).values(
        endpoints.map((endpoint) => ({
          id: newId('whdl'),
          eventId: id,
          endpointId: endpoint.id,
          ...whose,
          state: 'pending' as const,
          maxAttempts,
          nextAttemptAt: now,
        })),
      )
    }
    if (messages.length > 0) {
      await tx
        .update(outboxTable)
        .set({ publishedAt: now, attempts: sql`${outboxTable.attempts} + 1` })
        .where(
          inArray(
            outboxTable.id,
            messages.map(({ id }) => id),
          ),
        )
    }
    return messages.length
  })
}

/** A message of a topic that its recipient is told of. */
export function isKnown({ merchant, owner, operator }: WebhookTopics): SQL | undefined {
  const { merchantId, account, topic } = outboxTable
  return or(
    and(isNotNull(merchantId), inArray(topic, [...merchant])),
    and(isNotNull(account), inArray(topic, [...owner])),
    and(isNull(merchantId), isNull(account), inArray(topic, [...operator])),
  )
}
