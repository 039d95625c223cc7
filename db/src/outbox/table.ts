import { bigint, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, moment } from '../columns.ts'

export const outboxTable = pgTable('outbox', {
  id: bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
  topic: text('topic').notNull(),
  merchantId: text('merchant_id'),
  account: address('account'),
  payload: jsonb('payload').$type<Record<string, unknown>>().notNull(),
  attempts: integer('attempts').notNull().default(0),
  availableAt: moment('available_at').notNull().defaultNow(),
  createdAt: moment('created_at').notNull().defaultNow(),
  publishedAt: moment('published_at'),
})
