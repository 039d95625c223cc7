import { eq, inArray, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { webhookDeliveryTable, webhookEndpointTable, webhookEventTable } from './table.ts'
import type { WebhookDelivery, WebhookEndpoint, WebhookEvent } from './webhook.ts'

export type LeaseWebhookOptions = {
  /** Who delivers: another value for every call, so that a late answer of an ended lease changes nothing. */
  owner: string
  now: Date
  /** Longer than a try can take. Then another may try. */
  leaseMs: number
  /** Deliveries at once, and of one endpoint. */
  limit: number
  perEndpoint: number
  /** Endpoints that are left out: the caller has enough of theirs in hand. */
  except?: readonly string[] | undefined
}

export type LeasedDelivery = { delivery: WebhookDelivery; event: WebhookEvent; endpoint: WebhookEndpoint }

/**
 * Takes due deliveries of enabled endpoints, those that wait longest first, and counts the try. Several may ask at once:
 * each delivery goes to one of them, and to another when its lease ended without `recordWebhookAttempt`.
 */
export async function leaseWebhookDeliveries(
  db: Queryable,
  { owner, now, leaseMs, limit, perEndpoint, except = [] }: LeaseWebhookOptions,
): Promise<LeasedDelivery[]> {
  const moment = now.toISOString()
  const until = new Date(now.getTime() + leaseMs).toISOString()
  const { rows } = await db.execute<{ id: string }>(sql`
    with due as materialized (
      select waiting.id, waiting.next_attempt_at from webhook_endpoint e
      cross join lateral (
        select d.id, d.next_attempt_at from webhook_delivery d
        where d.endpoint_id = e.id and d.state = 'pending' and d.next_attempt_at <= ${moment}::timestamptz
        order by d.next_attempt_at, d.id
        limit ${perEndpoint}
        for update skip locked
      ) waiting
      where e.state = 'enabled' and not e.id = any(${sql.param([...except])}::text[])
    )
    update webhook_delivery d set
      attempts = d.attempts + 1, first_attempt_at = coalesce(d.first_attempt_at, ${moment}::timestamptz),
      next_attempt_at = ${until}::timestamptz, lease_owner = ${owner}
    where d.id in (select id from due order by next_attempt_at, id limit ${limit})
    returning d.id`)
  if (rows.length === 0) return []
  return db
    .select({ delivery: webhookDeliveryTable, event: webhookEventTable, endpoint: webhookEndpointTable })
    .from(webhookDeliveryTable)
    .innerJoin(webhookEventTable, eq(webhookEventTable.id, webhookDeliveryTable.eventId))
    .innerJoin(webhookEndpointTable, eq(webhookEndpointTable.id, webhookDeliveryTable.endpointId))
    .where(
      inArray(
        webhookDeliveryTable.id,
        rows.map(({ id }) => id),
      ),
    )
    .orderBy(webhookDeliveryTable.eventId)
}
