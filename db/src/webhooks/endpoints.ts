import { count, desc, eq, lt, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { ofRecipient } from './ofRecipient.ts'
import { webhookEndpointTable } from './table.ts'
import type { WebhookEndpoint, WebhookRecipient } from './webhook.ts'

/** A merchant, an owner or the operator has no more: every event is copied to each of them. */
export const maxWebhookEndpoints = 20

export type NewWebhookEndpoint = WebhookRecipient & {
  url: string
  description?: string | null | undefined
  eventTypes?: string[] | null | undefined
  /** Seals the endpoint's secret, given the id it is bound to. */
  sealSecret(id: string): string
}

/** Undefined when the recipient has `maxWebhookEndpoints` already. */
export function createWebhookEndpoint(
  db: Queryable,
  { merchantId, account, url, description = null, eventTypes = null, sealSecret }: NewWebhookEndpoint,
): Promise<WebhookEndpoint | undefined> {
  return db.transaction(async (tx) => {
    // One at a time for each recipient, so that two together do not pass the bound.
    const recipient = merchantId ?? account ?? 'operator'
    await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`webhook_endpoint ${recipient}`}, 0))`)
    const [existing] = await tx
      .select({ number: count() })
      .from(webhookEndpointTable)
      .where(ofRecipient(webhookEndpointTable, { merchantId, account }))
    if ((existing?.number ?? 0) >= maxWebhookEndpoints) return undefined
    const id = newId('whep')
    const [row] = await tx
      .insert(webhookEndpointTable)
      .values({ id, merchantId, account, url, description, eventTypes, state: 'enabled', secret: sealSecret(id) })
      .returning()
    return row
  })
}

/** Newest first. */
export async function listWebhookEndpoints(db: Queryable, page: PageRequest = {}): Promise<Page<WebhookEndpoint>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(webhookEndpointTable)
    .where(page.cursor === undefined ? undefined : lt(webhookEndpointTable.id, page.cursor))
    .orderBy(desc(webhookEndpointTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

export async function getWebhookEndpoint(db: Queryable, id: string): Promise<WebhookEndpoint | undefined> {
  const [row] = await db.select().from(webhookEndpointTable).where(eq(webhookEndpointTable.id, id))
  return row
}

export type WebhookEndpointChange = {
  url?: string | undefined
  description?: string | null | undefined
  eventTypes?: string[] | null | undefined
  /** True also forgets that it failed; what waits for it becomes due as it is. */
  enabled?: boolean | undefined
}

/** Undefined when there is no such endpoint. */
export async function updateWebhookEndpoint(
  db: Queryable,
  id: string,
  { enabled, ...change }: WebhookEndpointChange,
): Promise<WebhookEndpoint | undefined> {
  const [row] = await db
    .update(webhookEndpointTable)
    .set({ ...change, ...(enabled !== undefined && stateOf(enabled)), updatedAt: sql`now()` })
    .where(eq(webhookEndpointTable.id, id))
    .returning()
  return row
}

function stateOf(enabled: boolean) {
  if (enabled) return { state: 'enabled' as const, disabledReason: null, disabledAt: null, failingSince: null }
  const { merchantId, account } = webhookEndpointTable
  const whose = sql`case when ${merchantId} is not null then 'merchant' when ${account} is not null then 'owner'
    else 'operator' end`
  return { state: 'disabled' as const, disabledReason: whose, disabledAt: sql`now()` }
}

/** With its deliveries. False when there was no such endpoint. */
export async function deleteWebhookEndpoint(db: Queryable, id: string): Promise<boolean> {
  const rows = await db
    .delete(webhookEndpointTable)
    .where(eq(webhookEndpointTable.id, id))
    .returning({ id: webhookEndpointTable.id })
  return rows.length === 1
}

/**
 * The newest secret becomes the previous one, which signs until `previousUntil`; one that was the previous before signs
 * no more. Undefined when there is no such endpoint.
 */
export async function rotateWebhookSecret(
  db: Queryable,
  { id, secret, previousUntil }: { id: string; secret: string; previousUntil: Date },
): Promise<WebhookEndpoint | undefined> {
  const [row] = await db
    .update(webhookEndpointTable)
    .set({
      previousSecret: sql`${webhookEndpointTable.secret}`,
      previousSecretUntil: previousUntil,
      secret,
      updatedAt: sql`now()`,
    })
    .where(eq(webhookEndpointTable.id, id))
    .returning()
  return row
}
