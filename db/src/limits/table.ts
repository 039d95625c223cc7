import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment, uint128 } from '../columns.ts'

export const grantLimitTable = pgTable('grant_limit', {
  grantId: bytes32('grant_id').notNull(),
  payee: address('payee'),
  setBy: text('set_by', { enum: ['owner', 'operator'] }).notNull(),
  maxAmountPerCall: uint128('max_amount_per_call'),
  maxCallsPerMinute: integer('max_calls_per_minute'),
  maxCallsPerHour: integer('max_calls_per_hour'),
  maxCallsPerDay: integer('max_calls_per_day'),
  maxAmountPerMinute: uint128('max_amount_per_minute'),
  maxAmountPerHour: uint128('max_amount_per_hour'),
  maxAmountPerDay: uint128('max_amount_per_day'),
  actor: text('actor').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})
