import type { WebhookRecipient, WebhookTopics } from '@protocolbanks/stream-db'
import { z } from 'zod'
import { merchantEventSchemas } from './merchantEvents.ts'
import { operatorEventSchemas } from './operatorEvents.ts'
import { ownerEventSchemas } from './ownerEvents.ts'

/** Who is told. */
export type WebhookAudience = keyof WebhookTopics

/** By whom is told, then by type. One type may tell two audiences different things. */
export const webhookEventSchemas = {
  merchant: merchantEventSchemas,
  owner: ownerEventSchemas,
  operator: operatorEventSchemas,
} as const

/** What endpoints can ask for, and what is taken from the outbox. */
export const webhookEventTypes = {
  merchant: Object.keys(merchantEventSchemas),
  owner: Object.keys(ownerEventSchemas),
  operator: Object.keys(operatorEventSchemas),
} satisfies WebhookTopics

/** Of an event that is sent by hand to try an endpoint; nothing happened. */
export const testEventType = 'webhook_endpoint.test'

const testEventSchema = z.strictObject({ endpointId: z.string() })

/** Topic of the event about an endpoint that was disabled. */
export const endpointDisabledType = 'webhook_endpoint.disabled' satisfies keyof typeof merchantEventSchemas &
  keyof typeof ownerEventSchemas &
  keyof typeof operatorEventSchemas

export type WebhookPayload = { type: string; timestamp: string; data: Record<string, unknown> }

export function audienceOf({ merchantId, account }: WebhookRecipient): WebhookAudience {
  if (merchantId !== null) return 'merchant'
  return account === null ? 'operator' : 'owner'
}

/**
 * What is sent, as JSON: the payload of the Standard Webhooks specification.
 *
 * @throws when what was written is not what the type says; a mistake of ours
 */
export function toWebhookPayload(
  event: WebhookRecipient & { type: string; data: Record<string, unknown>; occurredAt: Date },
): WebhookPayload {
  const { type, data, occurredAt } = event
  return { type, timestamp: occurredAt.toISOString(), data: schemaOf(audienceOf(event), type).parse(data) }
}

function schemaOf(audience: WebhookAudience, type: string): z.ZodType<Record<string, unknown>> {
  const known: Record<string, z.ZodType<Record<string, unknown>>> = webhookEventSchemas[audience]
  const schema = type === testEventType ? testEventSchema : known[type]
  if (!schema) throw new Error(`There is no schema for webhook events of the type ${type} to the ${audience}.`)
  return schema
}
