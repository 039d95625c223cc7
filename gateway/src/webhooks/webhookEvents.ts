import { addressSchema, hex32Schema } from '@protocolbanks/stream-protocol'
import { z } from 'zod'

// What merchants are told. `data` is written by the database with the change (db/migrations/0005_webhooks.sql); these
// schemas say what leaves, and docs/webhooks.md explains it.

/** Base units of the token, as a decimal string. */
const amountAtomic = z.string().regex(/^\d{1,39}$/)
const blockNumber = z.string().regex(/^\d{1,20}$/)

const claim = {
  settlementId: z.string(),
  grantId: hex32Schema,
  account: addressSchema,
  payee: addressSchema,
  token: addressSchema,
  /** Cumulative: the claim is for everything up to here. */
  amountAtomic,
}

const failure = {
  ...claim,
  attempts: z.int(),
  /** See docs/errors.md. */
  errorCode: z.string().nullable(),
  errorMessage: z.string().nullable(),
}

const grantChange = z.strictObject({
  grantId: hex32Schema,
  account: addressSchema,
  token: addressSchema,
  /** Whose doing this one change was. */
  by: z.enum(['chain', 'operator', 'merchant']),
  reason: z.string().nullable(),
  /** The strictest of everything that can stop the grant, at the moment of the change. */
  status: z.enum(['pending', 'none', 'active', 'frozen', 'revoked']),
})

/** By type. */
export const webhookEventSchemas = {
  'settlement.confirmed': z.strictObject({
    ...claim,
    /** What moved; 0 when the claim was skipped. */
    paidAtomic: amountAtomic.nullable(),
    skippedReason: z.string().nullable(),
    txHash: hex32Schema,
    blockNumber,
    /** Null: an ordinary transaction paid. */
    userOpHash: hex32Schema.nullable(),
  }),
  'settlement.reopened': z.strictObject({ ...claim, txHash: hex32Schema, blockNumber }),
  'settlement.failed': z.strictObject(failure),
  'settlement.dead': z.strictObject(failure),
  'grant.frozen': grantChange,
  'grant.unfrozen': grantChange,
  'grant.revoked': grantChange,
  'reserve.withdrawal_requested': z.strictObject({
    account: addressSchema,
    token: addressSchema,
    balanceAtomic: amountAtomic,
    withdrawingAtomic: amountAtomic,
    /** From when the money can be taken. */
    withdrawableAt: z.int().transform((seconds) => new Date(seconds * 1_000).toISOString()),
  }),
  'webhook_endpoint.disabled': z.strictObject({
    endpointId: z.string(),
    url: z.string(),
    reason: z.enum(['failures', 'gone']),
  }),
} as const

export type WebhookEventType = keyof typeof webhookEventSchemas

/** What endpoints can ask for. */
export const webhookEventTypes = Object.keys(webhookEventSchemas) as WebhookEventType[]

/** Of an event that is sent by hand to try an endpoint; nothing happened. */
export const testEventType = 'webhook_endpoint.test'

const testEventSchema = z.strictObject({ endpointId: z.string() })

/** Topic of the event about an endpoint that was disabled. */
export const endpointDisabledType = 'webhook_endpoint.disabled' satisfies WebhookEventType

export type WebhookPayload = { type: string; timestamp: string; data: Record<string, unknown> }

/**
 * What is sent, as JSON: the payload of the Standard Webhooks specification.
 *
 * @throws when what the database wrote is not what the type says; a mistake of ours
 */
export function toWebhookPayload(event: {
  type: string
  data: Record<string, unknown>
  occurredAt: Date
}): WebhookPayload {
  const { type, data, occurredAt } = event
  return { type, timestamp: occurredAt.toISOString(), data: schemaOf(type).parse(data) }
}

function schemaOf(type: string): z.ZodType<Record<string, unknown>> {
  const known: Record<string, z.ZodType<Record<string, unknown>>> = webhookEventSchemas
  const schema = type === testEventType ? testEventSchema : known[type]
  if (!schema) throw new Error(`There is no schema for webhook events of the type ${type}.`)
  return schema
}
