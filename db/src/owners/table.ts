import { pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment } from '../columns.ts'

export const ownerSessionTable = pgTable('owner_session', {
  id: text('id').primaryKey(),
  account: address('account').notNull(),
  hash: text('hash').notNull(),
  nonce: text('nonce').notNull(),
  createdAt: moment('created_at').notNull(),
  expiresAt: moment('expires_at').notNull(),
  endedAt: moment('ended_at'),
})

export const ownerFreezeTable = pgTable('owner_freeze', {
  grantId: bytes32('grant_id').primaryKey(),
  account: address('account').notNull(),
  reason: text('reason').notNull(),
  actor: text('actor').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})
