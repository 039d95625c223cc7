import { bigint, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes, bytes32, hexArray, moment, uint128 } from '../columns.ts'

export const sentinelEventTable = pgTable('sentinel_event', {
  id: bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
  kind: text('kind').notNull(),
  rule: text('rule'),
  account: address('account'),
  grantId: bytes32('grant_id'),
  merchantId: text('merchant_id'),
  detail: jsonb('detail').$type<Record<string, unknown>>().notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})

export const sentinelIncidentTable = pgTable('sentinel_incident', {
  id: text('id').primaryKey(),
  grantId: bytes32('grant_id').notNull(),
  account: address('account').notNull(),
  rule: text('rule').notNull(),
  ruleVersion: integer('rule_version').notNull(),
  action: text('action', { enum: ['alert', 'block', 'freeze', 'revoke'] }).notNull(),
  severity: text('severity', { enum: ['info', 'warning', 'critical'] }).notNull(),
  ruleId: text('rule_id'),
  state: text('state', { enum: ['open', 'acknowledged', 'closed'] }).notNull(),
  payee: address('payee'),
  requestId: text('request_id'),
  chargedAt: moment('charged_at'),
  inputs: jsonb('inputs').$type<Record<string, string>>().notNull(),
  explanation: text('explanation').notNull(),
  findings: integer('findings').notNull().default(1),
  openedAt: moment('opened_at').notNull(),
  lastFoundAt: moment('last_found_at').notNull(),
  acknowledgedAt: moment('acknowledged_at'),
  acknowledgedBy: text('acknowledged_by'),
  closedAt: moment('closed_at'),
  voucherPolicy: text('voucher_policy', { enum: ['hold', 'settle'] })
    .notNull()
    .default('hold'),
  accepted: uint128('accepted').notNull().default(0n),
})

export const sentinelStopTable = pgTable('sentinel_stop', {
  id: text('id').primaryKey(),
  incidentId: text('incident_id').notNull(),
  grantId: bytes32('grant_id').notNull(),
  account: address('account').notNull(),
  kind: text('kind', { enum: ['freeze', 'revoke'] }).notNull(),
  refusedAt: moment('refused_at'),
  chainState: text('chain_state', { enum: ['due', 'sent', 'confirmed', 'impossible'] }).notNull(),
  nonce: bigint('nonce', { mode: 'number' }),
  rawTransaction: bytes('raw_transaction'),
  hashes: hexArray('hashes').notNull().default([]),
  sentAt: moment('sent_at'),
  txHash: bytes32('tx_hash'),
  blockNumber: bigint('block_number', { mode: 'bigint' }),
  errorCode: text('error_code'),
  createdAt: moment('created_at').notNull(),
  updatedAt: moment('updated_at').notNull(),
  settleUntil: moment('settle_until'),
  logIndex: integer('log_index'),
})

export const sentinelBreakerTable = pgTable('sentinel_breaker', {
  grantId: bytes32('grant_id').primaryKey(),
  account: address('account').notNull(),
  state: text('state', { enum: ['closed', 'open', 'half_open', 'revoked'] }).notNull(),
  since: moment('since').notNull(),
  incidentId: text('incident_id').notNull(),
  liftedAt: moment('lifted_at'),
  updatedAt: moment('updated_at').notNull(),
})

export const voucherPolicyTable = pgTable('voucher_policy', {
  account: address('account').notNull(),
  grantId: bytes32('grant_id'),
  policy: text('policy', { enum: ['hold', 'settle'] }).notNull(),
  actor: text('actor').notNull(),
  setAt: moment('set_at').notNull().defaultNow(),
})

export const sentinelHeartbeatTable = pgTable('sentinel_heartbeat', {
  name: text('name').primaryKey(),
  heardAt: moment('heard_at').notNull(),
})

export const sentinelDecisionTable = pgTable('sentinel_decision', {
  id: text('id').primaryKey(),
  incidentId: text('incident_id').notNull(),
  grantId: bytes32('grant_id').notNull(),
  account: address('account').notNull(),
  decision: text('decision', { enum: ['confirm', 'reject'] }).notNull(),
  actor: text('actor').notNull(),
  decidedAt: moment('decided_at').notNull(),
})

export const sentinelGrantStateTable = pgTable('sentinel_grant_state', {
  grantId: bytes32('grant_id').primaryKey(),
  state: text('state').notNull(),
  updatedAt: moment('updated_at').notNull(),
})

export const sentinelCursorTable = pgTable('sentinel_cursor', {
  name: text('name').primaryKey(),
  journalUntil: moment('journal_until').notNull(),
  position: text('position').notNull(),
  writer: text('writer').notNull(),
  writerUntil: moment('writer_until').notNull(),
})
