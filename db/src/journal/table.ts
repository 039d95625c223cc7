import { sql } from 'drizzle-orm'
import { json, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment, traceId, uint128 } from '../columns.ts'
import { quarantineReasons } from './quarantineReasons.ts'

/** Partitioned by month; see ensurePartitions.ts. */
export const chargeTable = pgTable('charge', {
  eventId: text('event_id').notNull(),
  occurredAt: moment('occurred_at').notNull(),
  grantId: bytes32('grant_id').notNull(),
  payee: address('payee').notNull(),
  account: address('account').notNull(),
  merchantId: text('merchant_id').notNull(),
  serviceId: text('service_id').notNull(),
  requestId: text('request_id').notNull(),
  fingerprint: text('fingerprint').notNull(),
  amount: uint128('amount').notNull(),
  cumulativeAmount: uint128('cumulative_amount').notNull(),
  traceId: traceId('trace_id'),
  client: text('client'),
  journalledAt: moment('journalled_at').default(sql`now()`),
})

export const usageQuarantineTable = pgTable('usage_quarantine', {
  id: text('id').primaryKey(),
  eventId: text('event_id').notNull(),
  reason: text('reason', { enum: quarantineReasons }).notNull(),
  detail: text('detail').notNull(),
  event: json('event').$type<unknown>().notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})
