import { bigint, integer, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes, bytes32, hexArray, moment, uint128 } from '../columns.ts'

export const settlementTransactionTable = pgTable('settlement_transaction', {
  id: text('id').primaryKey(),
  sender: address('sender').notNull(),
  state: text('state', { enum: ['open', 'confirmed', 'lost'] }).notNull(),
  nonce: bigint('nonce', { mode: 'number' }),
  rawTransaction: bytes('raw_transaction'),
  hashes: hexArray('hashes').notNull().default([]),
  sentAt: moment('sent_at'),
  txHash: bytes32('tx_hash'),
  blockNumber: bigint('block_number', { mode: 'bigint' }),
  gasUsed: uint128('gas_used'),
  gasCostWei: uint128('gas_cost_wei'),
  leaseOwner: text('lease_owner'),
  leaseUntil: moment('lease_until'),
  createdAt: moment('created_at').notNull().defaultNow(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
})

export const settlementTransactionMemberTable = pgTable('settlement_transaction_member', {
  transactionId: text('transaction_id').notNull(),
  settlementId: text('settlement_id').notNull(),
  position: integer('position').notNull(),
})
