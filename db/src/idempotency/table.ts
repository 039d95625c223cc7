import { integer, pgTable, primaryKey, text } from 'drizzle-orm/pg-core'
import { moment } from '../columns.ts'

export const idempotencyKeyTable = pgTable(
  'idempotency_key',
  {
    caller: text('caller').notNull(),
    key: text('key').notNull(),
    fingerprint: text('fingerprint').notNull(),
    attempt: text('attempt').notNull(),
    leaseUntil: moment('lease_until').notNull(),
    changedAt: moment('changed_at'),
    subject: text('subject'),
    status: integer('status'),
    answer: text('answer'),
    createdAt: moment('created_at').notNull().defaultNow(),
    expiresAt: moment('expires_at').notNull(),
  },
  ({ caller, key }) => [primaryKey({ columns: [caller, key] })],
)
