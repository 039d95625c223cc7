import { pgTable, text } from 'drizzle-orm/pg-core'
import { bytes32, moment } from '../columns.ts'

export const grantControlTable = pgTable('grant_control', {
  id: text('id').primaryKey(),
  grantId: bytes32('grant_id').notNull(),
  merchantId: text('merchant_id'),
  holder: text('holder', { enum: ['merchant', 'operator', 'sentinel', 'rule'] }).notNull(),
  state: text('state', { enum: ['frozen', 'removed'] }).notNull(),
  reason: text('reason').notNull(),
  actor: text('actor').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})
