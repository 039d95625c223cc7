import { bigint, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, moment } from '../columns.ts'

export const webhookEndpointTable = pgTable('webhook_endpoint', {
  id: text('id').primaryKey(),
  merchantId: text('merchant_id'),
  account: address('account'),
  url: text('url').notNull(),
  description: text('description'),
  eventTypes: text('event_types').array(),
  state: text('state', { enum: ['enabled', 'disabled'] }).notNull(),
  disabledReason: text('disabled_reason', { enum: ['merchant', 'owner', 'operator', 'failures', 'gone'] }),
  disabledAt: moment('disabled_at'),
  failingSince: moment('failing_since'),
  secret: text('secret').notNull(),
  previousSecret: text('previous_secret'),
  previousSecretUntil: moment('previous_secret_until'),
  createdAt: moment('created_at').notNull().defaultNow(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
})

export const webhookEventTable = pgTable('webhook_event', {
  id: text('id').primaryKey(),
  merchantId: text('merchant_id'),
  account: address('account'),
  type: text('type').notNull(),
  data: jsonb('data').$type<Record<string, unknown>>().notNull(),
  occurredAt: moment('occurred_at').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})

export const webhookDeliveryTable = pgTable('webhook_delivery', {
  id: text('id').primaryKey(),
  eventId: text('event_id').notNull(),
  endpointId: text('endpoint_id').notNull(),
  merchantId: text('merchant_id'),
  account: address('account'),
  state: text('state', { enum: ['pending', 'delivered', 'failed'] }).notNull(),
  attempts: integer('attempts').notNull().default(0),
  maxAttempts: integer('max_attempts').notNull(),
  firstAttemptAt: moment('first_attempt_at'),
  nextAttemptAt: moment('next_attempt_at'),
  leaseOwner: text('lease_owner'),
  endedAt: moment('ended_at'),
  createdAt: moment('created_at').notNull().defaultNow(),
})

export const webhookAttemptTable = pgTable('webhook_attempt', {
  id: bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
  deliveryId: text('delivery_id').notNull(),
  merchantId: text('merchant_id'),
  account: address('account'),
  startedAt: moment('started_at').notNull(),
  durationMs: integer('duration_ms').notNull(),
  statusCode: integer('status_code'),
  responseBody: text('response_body'),
  error: text('error'),
})
