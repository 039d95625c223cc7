import { bigint, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment } from '../columns.ts'

export const indexerCursorTable = pgTable('indexer_cursor', {
  name: text('name').primaryKey(),
  blockNumber: bigint('block_number', { mode: 'bigint' }).notNull(),
  blockHash: bytes32('block_hash').notNull(),
  checkedAt: moment('checked_at').notNull(),
})

export const indexedBlockTable = pgTable('indexed_block', {
  number: bigint('number', { mode: 'bigint' }).primaryKey(),
  hash: bytes32('hash').notNull(),
})

export const chainEventTable = pgTable('chain_event', {
  blockNumber: bigint('block_number', { mode: 'bigint' }).notNull(),
  blockHash: bytes32('block_hash').notNull(),
  logIndex: integer('log_index').notNull(),
  txHash: bytes32('tx_hash').notNull(),
  name: text('name').notNull(),
  account: address('account'),
  grantId: bytes32('grant_id'),
  payee: address('payee'),
  data: jsonb('data').$type<Record<string, unknown>>().notNull(),
})
