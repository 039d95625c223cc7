import { pgTable, text } from 'drizzle-orm/pg-core'
import { address, moment, uint128 } from '../columns.ts'

export const merchantTable = pgTable('merchant', {
  id: text('id').primaryKey(),
  name: text('name').notNull(),
  payee: address('payee').notNull(),
  gasBudgetWeiPerDay: uint128('gas_budget_wei_per_day').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})
