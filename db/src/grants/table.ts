import { sql } from 'drizzle-orm'
import { bigint, boolean, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes, bytes32, hexArray, moment, uint128, uint256 } from '../columns.ts'

export const grantTable = pgTable('grant', {
  grantId: bytes32('grant_id').primaryKey(),
  account: address('account').notNull(),
  sessionKey: address('session_key').notNull(),
  settler: address('settler').notNull(),
  token: address('token').notNull(),
  totalLimit: uint128('total_limit').notNull(),
  periodLimit: uint128('period_limit').notNull(),
  period: bigint('period', { mode: 'number' }).notNull(),
  validAfter: bigint('valid_after', { mode: 'number' }).notNull(),
  validUntil: bigint('valid_until', { mode: 'number' }).notNull(),
  payeeRoot: bytes32('payee_root').notNull(),
  source: text('source', { enum: ['allowance', 'reserve'] }).notNull(),
  salt: bytes('salt').notNull(),
  packedTerms: bytes('packed_terms').notNull(),
  epoch: bigint('epoch', { mode: 'bigint' }).notNull(),
  status: text('status', { enum: ['pending', 'none', 'active', 'frozen', 'revoked'] }).notNull(),
  settled: uint128('settled').notNull().default(0n),
  periodIndex: bigint('period_index', { mode: 'number' }).notNull().default(0),
  periodSettled: uint128('period_settled').notNull().default(0n),
  blockNumber: bigint('block_number', { mode: 'bigint' }).notNull().default(0n),
  raisedBlock: bigint('raised_block', { mode: 'bigint' }).notNull().default(0n),
  createdAt: moment('created_at').notNull().defaultNow(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
})

export const accountTable = pgTable('account', {
  account: address('account').notNull(),
  token: address('token').notNull(),
  balance: uint256('balance').notNull(),
  allowance: uint256('allowance').notNull(),
  accountFrozen: boolean('account_frozen').notNull(),
  guardian: address('guardian').notNull(),
  epoch: bigint('epoch', { mode: 'bigint' }).notNull(),
  reserveBalance: uint128('reserve_balance').notNull().default(0n),
  reserveWithdrawing: uint128('reserve_withdrawing').notNull().default(0n),
  reserveWithdrawableAt: bigint('reserve_withdrawable_at', { mode: 'number' }).notNull().default(0),
  blockNumber: bigint('block_number', { mode: 'bigint' }).notNull(),
  raisedBlock: bigint('raised_block', { mode: 'bigint' }).notNull().default(0n),
})

export const channelTable = pgTable('channel', {
  grantId: bytes32('grant_id').notNull(),
  payee: address('payee').notNull(),
  merchantId: text('merchant_id'),
  cumulativeAmount: uint128('cumulative_amount').notNull().default(0n),
  signature: bytes('signature'),
  payeeProof: hexArray('payee_proof').notNull().default([]),
  charged: uint128('charged').notNull().default(0n),
  settled: uint128('settled').notNull().default(0n),
  /** Whether more was charged than is settled; what indexes look at, since it changes rarely. */
  owing: boolean('owing').notNull().generatedAlwaysAs(sql`charged > settled`),
  settledBlock: bigint('settled_block', { mode: 'bigint' }).notNull().default(0n),
  firstUnsettledAt: moment('first_unsettled_at'),
  lastChargeAt: moment('last_charge_at'),
  createdAt: moment('created_at').notNull().defaultNow(),
})
