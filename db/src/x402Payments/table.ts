import { bigint, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes, bytes32, hexArray, moment, uint128, uint256 } from '../columns.ts'

export const x402PaymentTable = pgTable('x402_payment', {
  id: text('id').primaryKey(),
  origin: text('origin', { enum: ['gateway', 'facilitator'] }).notNull(),
  merchantId: text('merchant_id'),
  serviceId: text('service_id'),
  token: address('token').notNull(),
  payer: address('payer').notNull(),
  payee: address('payee').notNull(),
  amount: uint128('amount').notNull(),
  validAfter: uint256('valid_after').notNull(),
  validBefore: uint256('valid_before').notNull(),
  nonce: bytes32('nonce').notNull(),
  signature: bytes('signature').notNull(),
  paymentIdentifier: text('payment_identifier'),
  fingerprint: text('fingerprint').notNull(),
  state: text('state', { enum: ['verified', 'settling', 'settled', 'failed', 'released'] }).notNull(),
  reason: text('reason'),
  leaseOwner: text('lease_owner'),
  leaseUntil: moment('lease_until'),
  txHash: bytes32('tx_hash'),
  blockNumber: bigint('block_number', { mode: 'bigint' }),
  answeredAt: moment('answered_at'),
  createdAt: moment('created_at').notNull().defaultNow(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
})

export const x402PaymentTransitionTable = pgTable('x402_payment_transition', {
  id: bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
  paymentId: text('payment_id').notNull(),
  at: moment('at').notNull().defaultNow(),
  fromState: text('from_state'),
  toState: text('to_state').notNull(),
  reason: text('reason'),
  worker: text('worker'),
  txHash: bytes32('tx_hash'),
})

export const x402RelayerTable = pgTable('x402_relayer', {
  sender: address('sender').primaryKey(),
  nextNonce: bigint('next_nonce', { mode: 'number' }).notNull(),
})

export const x402TransactionTable = pgTable('x402_transaction', {
  id: text('id').primaryKey(),
  paymentId: text('payment_id').notNull(),
  purpose: text('purpose', { enum: ['deploy', 'transfer'] }).notNull(),
  sender: address('sender').notNull(),
  nonce: bigint('nonce', { mode: 'number' }).notNull(),
  rawTransaction: bytes('raw_transaction').notNull(),
  hashes: hexArray('hashes').notNull(),
  state: text('state', { enum: ['open', 'included', 'lost'] })
    .notNull()
    .default('open'),
  txHash: bytes32('tx_hash'),
  gasUsed: uint128('gas_used'),
  gasCostWei: uint128('gas_cost_wei'),
  createdAt: moment('created_at').notNull().defaultNow(),
  signedAt: moment('signed_at').notNull().defaultNow(),
})
