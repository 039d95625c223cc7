import { bigint, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment, uint128 } from '../columns.ts'
import type { ReconciliationTotals } from './reconciliation.ts'

export const reconciliationTable = pgTable('reconciliation', {
  id: text('id').primaryKey(),
  state: text('state', { enum: ['requested', 'running', 'done', 'failed'] }).notNull(),
  trigger: text('trigger', { enum: ['schedule', 'request'] }).notNull(),
  grantId: bytes32('grant_id'),
  actor: text('actor').notNull(),
  leaseOwner: text('lease_owner'),
  leaseUntil: moment('lease_until'),
  blockNumber: bigint('block_number', { mode: 'bigint' }),
  totals: jsonb('totals').$type<ReconciliationTotals>(),
  differences: integer('differences'),
  errorCode: text('error_code'),
  errorMessage: text('error_message'),
  createdAt: moment('created_at').notNull().defaultNow(),
  finishedAt: moment('finished_at'),
})

export const reconciliationDifferenceTable = pgTable('reconciliation_difference', {
  reconciliationId: text('reconciliation_id').notNull(),
  position: integer('position').notNull(),
  kind: text('kind').notNull(),
  grantId: bytes32('grant_id').notNull(),
  payee: address('payee').notNull(),
  expected: uint128('expected').notNull(),
  actual: uint128('actual').notNull(),
  detail: text('detail').notNull(),
})
