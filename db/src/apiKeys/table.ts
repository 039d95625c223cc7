import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import { moment } from '../columns.ts'

export const apiKeyTable = pgTable('api_key', {
  id: text('id').primaryKey(),
  merchantId: text('merchant_id'),
  name: text('name').notNull(),
  prefix: text('prefix').notNull(),
  hash: text('hash').notNull(),
  scopes: text('scopes').array().notNull().default(sql`'{*}'`),
  createdAt: moment('created_at').notNull().defaultNow(),
  expiresAt: moment('expires_at'),
  revokedAt: moment('revoked_at'),
  lastUsedAt: moment('last_used_at'),
  rotatedAt: moment('rotated_at'),
  previousHash: text('previous_hash'),
  previousPrefix: text('previous_prefix'),
  previousUntil: moment('previous_until'),
})
