import { bigint, boolean, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes, bytes32, hexArray, moment, uint128 } from '../columns.ts'
import { failureReasons, settlementStates } from './settlement.ts'

export const settlementTable = pgTable('settlement', {
  id: text('id').primaryKey(),
  grantId: bytes32('grant_id').notNull(),
  account: address('account').notNull(),
  state: text('state', { enum: settlementStates }).notNull(),
  trigger: text('trigger', { enum: ['threshold', 'age', 'expiry', 'request', 'withdrawal'] }).notNull(),
  lane: bigint('nonce_key', { mode: 'number' }).notNull(),
  laneSince: moment('lane_since').notNull().defaultNow(),
  userOpHash: bytes32('user_op_hash'),
  userOperation: jsonb('user_operation'),
  sentAt: moment('sent_at'),
  earlierUserOpHashes: hexArray('earlier_user_op_hashes').notNull().default([]),
  txHash: bytes32('tx_hash'),
  blockNumber: bigint('block_number', { mode: 'bigint' }),
  attempts: integer('attempts').notNull().default(0),
  waits: integer('waits').notNull().default(0),
  lookedBlock: bigint('looked_block', { mode: 'bigint' }),
  nextAttemptAt: moment('next_attempt_at'),
  failureReason: text('failure_reason', { enum: failureReasons }),
  errorCode: text('error_code'),
  errorMessage: text('error_message'),
  gasUsed: uint128('gas_used'),
  gasCostWei: uint128('gas_cost_wei'),
  leaseOwner: text('lease_owner'),
  leaseUntil: moment('lease_until'),
  writtenOffAt: moment('written_off_at'),
  createdAt: moment('created_at').notNull().defaultNow(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
})

export const settlementItemTable = pgTable('settlement_item', {
  settlementId: text('settlement_id').notNull(),
  payee: address('payee').notNull(),
  merchantId: text('merchant_id'),
  amount: uint128('amount').notNull(),
  cumulativeAmount: uint128('cumulative_amount').notNull(),
  signature: bytes('signature').notNull(),
  payeeProof: hexArray('payee_proof').notNull(),
  paid: uint128('paid'),
  skippedReason: text('skipped_reason'),
})

export const settlementRequestTable = pgTable('settlement_request', {
  id: text('id').primaryKey(),
  grantId: bytes32('grant_id').notNull(),
  merchantId: text('merchant_id'),
  actor: text('actor').notNull(),
  settlementId: text('settlement_id'),
  createdAt: moment('created_at').notNull().defaultNow(),
})

export const settlementWriteOffTable = pgTable('settlement_write_off', {
  settlementId: text('settlement_id').primaryKey(),
  reason: text('reason', {
    enum: ['grant_ended', 'voucher_invalid', 'funds_gone', 'payee_blocked', 'agreed', 'other'],
  }).notNull(),
  note: text('note').notNull(),
  actor: text('actor').notNull(),
  amount: uint128('amount').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})

export const settlementTransitionTable = pgTable('settlement_transition', {
  id: bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
  settlementId: text('settlement_id').notNull(),
  at: moment('at').notNull(),
  from: text('from_state', { enum: settlementStates }),
  to: text('to_state', { enum: settlementStates }).notNull(),
  reason: text('reason', { enum: failureReasons }),
  errorCode: text('error_code'),
  worker: text('worker'),
  attempt: integer('attempt').notNull(),
  userOpHash: bytes32('user_op_hash'),
  txHash: bytes32('tx_hash'),
})

export const payeeBlockTable = pgTable('payee_block', {
  token: address('token').notNull(),
  payee: address('payee').notNull(),
  blocked: boolean('blocked').notNull(),
  since: moment('since').notNull(),
  changedAt: moment('changed_at').notNull(),
  checks: integer('checks').notNull().default(0),
  nextCheckAt: moment('next_check_at').notNull(),
})
