import { date, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment, uint128 } from '../columns.ts'

export const sponsorshipTable = pgTable('sponsorship', {
  userOpHash: bytes32('user_op_hash').primaryKey(),
  sender: address('sender').notNull(),
  kind: text('kind').notNull(),
  state: text('state', { enum: ['reserved', 'spent', 'expired'] }).notNull(),
  maxCostWei: uint128('max_cost_wei').notNull(),
  actualCostWei: uint128('actual_cost_wei'),
  validUntil: moment('valid_until').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
  bookedAt: moment('booked_at'),
})

export const sponsorshipShareTable = pgTable('sponsorship_share', {
  userOpHash: bytes32('user_op_hash').notNull(),
  merchantId: text('merchant_id').notNull(),
  day: date('day', { mode: 'string' }).notNull(),
  maxCostWei: uint128('max_cost_wei').notNull(),
  actualCostWei: uint128('actual_cost_wei'),
})
