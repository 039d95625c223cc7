import { bigint, pgTable, text } from 'drizzle-orm/pg-core'
import { address, moment, uint128 } from '../columns.ts'

export const merchantTable = pgTable('merchant', {
  id: text('id').primaryKey(),
  name: text('name').notNull(),
  payee: address('payee').notNull(),
  gasBudgetWeiPerDay: uint128('gas_budget_wei_per_day').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})

export const merchantCreditTable = pgTable('merchant_credit', {
  merchantId: text('merchant_id').primaryKey(),
  mode: text('mode', { enum: ['credit', 'reserve_only'] }).notNull(),
  maxTotal: uint128('max_total'),
  maxPerAccount: uint128('max_per_account'),
  maxPerGrant: uint128('max_per_grant'),
  version: bigint('version', { mode: 'number' }).notNull(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
})
