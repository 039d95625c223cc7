import { pgTable, text } from 'drizzle-orm/pg-core'
import { moment } from '../columns.ts'

export const apiKeyTable = pgTable('api_key', {
  id: text('id').primaryKey(),
  merchantId: text('merchant_id'),
  name: text('name').notNull(),
  prefix: text('prefix').notNull(),
  hash: text('hash').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
  revokedAt: moment('revoked_at'),
  lastUsedAt: moment('last_used_at'),
})
