import { and, desc, eq, lt, ne } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { webhookAttemptTable, webhookDeliveryTable, webhookEventTable } from './table.ts'
import type { WebhookAttempt, WebhookDelivery, WebhookEvent, WebhookRecipient } from './webhook.ts'

export type WebhookDeliveryFilter = PageRequest & {
  endpointId: string
  state?: WebhookDelivery['state'] | undefined
}

/** Newest first, each with its event. */
export async function listWebhookDeliveries(
  db: Queryable,
  filter: WebhookDeliveryFilter,
): Promise<Page<{ delivery: WebhookDelivery; event: WebhookEvent }>> {
  const limit = limitOf(filter)
  const rows = await db
    .select({ delivery: webhookDeliveryTable, event: webhookEventTable })
    .from(webhookDeliveryTable)
    .innerJoin(webhookEventTable, eq(webhookEventTable.id, webhookDeliveryTable.eventId))
    .where(
      and(
        eq(webhookDeliveryTable.endpointId, filter.endpointId),
        filter.state === undefined ? undefined : eq(webhookDeliveryTable.state, filter.state),
        filter.cursor === undefined ? undefined : lt(webhookDeliveryTable.id, filter.cursor),
      ),
    )
    .orderBy(desc(webhookDeliveryTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.delivery.id)
}

const maxShownAttempts = 100

/** With its newest tries, at most 100, oldest first. */
export async function getWebhookDelivery(
  db: Queryable,
  { id, endpointId }: { id: string; endpointId: string },
): Promise<{ delivery: WebhookDelivery; event: WebhookEvent; attempts: WebhookAttempt[] } | undefined> {
  const [row] = await db
    .select({ delivery: webhookDeliveryTable, event: webhookEventTable })
    .from(webhookDeliveryTable)
    .innerJoin(webhookEventTable, eq(webhookEventTable.id, webhookDeliveryTable.eventId))
    .where(and(eq(webhookDeliveryTable.id, id), eq(webhookDeliveryTable.endpointId, endpointId)))
  if (!row) return undefined
  const { startedAt, durationMs, statusCode, responseBody, error } = webhookAttemptTable
  const attempts = await db
    .select({ startedAt, durationMs, statusCode, responseBody, error })
    .from(webhookAttemptTable)
    .where(eq(webhookAttemptTable.deliveryId, id))
    .orderBy(desc(webhookAttemptTable.id))
    .limit(maxShownAttempts)
  return { ...row, attempts: attempts.toReversed() }
}

/**
 * Sends an event that came to an end again, under the same event id, with all its tries ahead. False when it is waiting
 * or on its way already, or there is no such delivery.
 */
export async function replayWebhookDelivery(
  db: Queryable,
  { id, maxAttempts, now }: { id: string; maxAttempts: number; now: Date },
): Promise<boolean> {
  const rows = await db
    .update(webhookDeliveryTable)
    .set({
      state: 'pending',
      attempts: 0,
      maxAttempts,
      firstAttemptAt: null,
      nextAttemptAt: now,
      leaseOwner: null,
      endedAt: null,
    })
    .where(and(eq(webhookDeliveryTable.id, id), ne(webhookDeliveryTable.state, 'pending')))
    .returning({ id: webhookDeliveryTable.id })
  return rows.length === 1
}

/** An event for one endpoint alone, whatever types it wants: to try it with. It is sent once. */
export function createTestDelivery(
  db: Queryable,
  of: WebhookRecipient & { endpointId: string; type: string; now: Date },
): Promise<{ eventId: string; deliveryId: string }> {
  const { endpointId, merchantId, account, type, now } = of
  const whose = { merchantId, account }
  return db.transaction(async (tx) => {
    const eventId = newId('whev')
    const deliveryId = newId('whdl')
    await tx.insert(webhookEventTable).values({ id: eventId, ...whose, type, data: { endpointId }, occurredAt: now })
    await tx
      .insert(webhookDeliveryTable)
      .values({ id: deliveryId, eventId, endpointId, ...whose, state: 'pending', maxAttempts: 1, nextAttemptAt: now })
    return { eventId, deliveryId }
  })
}
