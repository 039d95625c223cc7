import { integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment } from '../columns.ts'
import type { DryRunResult } from './dryRunResult.ts'
import type { RuleScope } from './rule.ts'

const holder = () => ({ merchantId: text('merchant_id'), account: address('account') })
const actions = ['alert', 'block', 'freeze', 'revoke'] as const

export const sentinelRuleTable = pgTable('sentinel_rule', {
  id: text('id').primaryKey(),
  ...holder(),
  state: text('state', { enum: ['draft', 'live', 'off', 'deleted'] }).notNull(),
  version: integer('version').notNull(),
  failedVersion: integer('failed_version'),
  createdAt: moment('created_at').notNull().defaultNow(),
  changedAt: moment('changed_at').notNull().defaultNow(),
})

export const sentinelRuleVersionTable = pgTable('sentinel_rule_version', {
  ruleId: text('rule_id').notNull(),
  version: integer('version').notNull(),
  ...holder(),
  name: text('name').notNull(),
  expression: text('expression').notNull(),
  scope: jsonb('scope').$type<RuleScope>().notNull(),
  action: text('action', { enum: actions }).notNull(),
  severity: text('severity', { enum: ['info', 'warning', 'critical'] }).notNull(),
  blockSeconds: integer('block_seconds'),
  actor: text('actor').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
})

export const sentinelDryRunTable = pgTable('sentinel_dry_run', {
  id: text('id').primaryKey(),
  ...holder(),
  ruleId: text('rule_id'),
  ruleVersion: integer('rule_version'),
  expression: text('expression').notNull(),
  scope: jsonb('scope').$type<RuleScope>().notNull(),
  action: text('action', { enum: actions }).notNull(),
  blockSeconds: integer('block_seconds'),
  fromAt: moment('from_at').notNull(),
  untilAt: moment('until_at').notNull(),
  state: text('state', { enum: ['pending', 'done', 'failed'] }).notNull(),
  leaseOwner: text('lease_owner'),
  leaseUntil: moment('lease_until'),
  attempts: integer('attempts').notNull().default(0),
  result: jsonb('result').$type<DryRunResult>(),
  error: text('error'),
  actor: text('actor').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
  finishedAt: moment('finished_at'),
})

export const sentinelAllowTable = pgTable('sentinel_allow', {
  id: text('id').primaryKey(),
  ...holder(),
  kind: text('kind', { enum: ['grant', 'payee', 'service'] }).notNull(),
  value: text('value').notNull(),
  actor: text('actor').notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
  changedAt: moment('changed_at').notNull().defaultNow(),
  removedAt: moment('removed_at'),
})

export const sentinelRuleHoldTable = pgTable('sentinel_rule_hold', {
  id: text('id').primaryKey(),
  incidentId: text('incident_id').notNull(),
  ruleId: text('rule_id').notNull(),
  grantId: bytes32('grant_id').notNull(),
  account: address('account').notNull(),
  merchantId: text('merchant_id'),
  until: moment('until'),
  reason: text('reason').notNull(),
  placedAt: moment('placed_at'),
  liftedAt: moment('lifted_at'),
  createdAt: moment('created_at').notNull(),
})
