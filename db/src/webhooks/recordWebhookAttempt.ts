import { and, eq, isNotNull, isNull, lte, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { appendOutbox } from '../outbox/outbox.ts'
import { webhookAttemptTable, webhookDeliveryTable, webhookEndpointTable } from './table.ts'
import type { WebhookAttempt, WebhookDelivery } from './webhook.ts'

/** What follows from a try. */
export type WebhookVerdict =
  | { state: 'delivered' }
  | { state: 'pending'; nextAttemptAt: Date }
  /** Given up. `failures`: the endpoint is disabled if it took nothing since the first try of this delivery. */
  | { state: 'failed'; disable: 'failures' | 'gone' | 'never' }

export type WebhookRecord = {
  delivery: Pick<WebhookDelivery, 'id' | 'endpointId' | 'merchantId' | 'account' | 'firstAttemptAt'>
  owner: string
  attempt: WebhookAttempt
  verdict: WebhookVerdict
  now: Date
  /** Topic of the message that tells the same recipient's other endpoints of one that was disabled. */
  disabledTopic: string
}

/**
 * Writes a try and what follows from it, in one transaction. `recorded` is false, and nothing is written, when the lease
 * is no longer ours: another try is on its way. `disabled` says that this one disabled its endpoint.
 */
export function recordWebhookAttempt(
  db: Queryable,
  { delivery, owner, attempt, verdict, now, disabledTopic }: WebhookRecord,
): Promise<{ recorded: boolean; disabled: boolean }> {
  return db.transaction(async (tx) => {
    const { id: deliveryId, endpointId, merchantId, account } = delivery
    // The endpoint's row before the delivery's, as a deletion of the endpoint locks them.
    await tx
      .select({ id: webhookEndpointTable.id })
      .from(webhookEndpointTable)
      .where(eq(webhookEndpointTable.id, endpointId))
      .for('no key update')
    const ours = await tx
      .update(webhookDeliveryTable)
      .set({ ...changeOf(verdict, now), leaseOwner: null })
      .where(and(eq(webhookDeliveryTable.id, deliveryId), eq(webhookDeliveryTable.leaseOwner, owner)))
      .returning({ id: webhookDeliveryTable.id })
    if (ours.length === 0) return { recorded: false, disabled: false }
    await tx.insert(webhookAttemptTable).values({ ...attempt, deliveryId, merchantId, account })
    await tx
      .update(webhookEndpointTable)
      .set({ failingSince: verdict.state === 'delivered' ? null : attempt.startedAt })
      .where(
        and(
          eq(webhookEndpointTable.id, endpointId),
          verdict.state === 'delivered'
            ? isNotNull(webhookEndpointTable.failingSince)
            : isNull(webhookEndpointTable.failingSince),
        ),
      )
    if (verdict.state !== 'failed' || verdict.disable === 'never') return { recorded: true, disabled: false }
    const reason = verdict.disable
    const [disabled] = await tx
      .update(webhookEndpointTable)
      .set({ state: 'disabled', disabledReason: reason, disabledAt: now, updatedAt: sql`now()` })
      .where(
        and(
          eq(webhookEndpointTable.id, endpointId),
          eq(webhookEndpointTable.state, 'enabled'),
          reason === 'gone' ? undefined : lte(webhookEndpointTable.failingSince, delivery.firstAttemptAt ?? now),
        ),
      )
      .returning({ url: webhookEndpointTable.url })
    if (!disabled) return { recorded: true, disabled: false }
    const payload = { endpointId, url: disabled.url, reason }
    await appendOutbox(tx, { topic: disabledTopic, merchantId, account, payload })
    return { recorded: true, disabled: true }
  })
}

function changeOf(verdict: WebhookVerdict, now: Date) {
  if (verdict.state === 'pending') return { nextAttemptAt: verdict.nextAttemptAt }
  return { state: verdict.state, nextAttemptAt: null, endedAt: now }
}
