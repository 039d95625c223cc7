import { bigint, boolean, integer, pgTable, text } from 'drizzle-orm/pg-core'
import { address, moment } from '../columns.ts'

export const alertChannelTable = pgTable('alert_channel', {
  id: text('id').primaryKey(),
  merchantId: text('merchant_id'),
  account: address('account'),
  kind: text('kind', { enum: ['email', 'telegram'] }).notNull(),
  target: text('target'),
  leastSeverity: text('least_severity', { enum: ['info', 'warning', 'critical'] }).notNull(),
  state: text('state', { enum: ['unverified', 'active', 'disabled'] }).notNull(),
  disabledReason: text('disabled_reason', { enum: ['refused', 'blocked', 'gone', 'stopped'] }),
  disabledDetail: text('disabled_detail'),
  createdAt: moment('created_at').notNull(),
  verifiedAt: moment('verified_at'),
  disabledAt: moment('disabled_at'),
})

export const alertDeliveryTable = pgTable('alert_delivery', {
  id: text('id').primaryKey(),
  position: bigint('position', { mode: 'bigint' }).notNull().generatedAlwaysAsIdentity(),
  channelId: text('channel_id').notNull(),
  merchantId: text('merchant_id'),
  account: address('account'),
  incidentId: text('incident_id'),
  kind: text('kind', {
    enum: ['verify', 'verified', 'test', 'opened', 'repeated', 'acknowledged', 'stopped', 'closed'],
  }).notNull(),
  number: integer('number').notNull(),
  state: text('state', { enum: ['pending', 'delivered', 'failed', 'skipped'] }).notNull(),
  attempts: integer('attempts').notNull().default(0),
  nextAttemptAt: moment('next_attempt_at'),
  leaseOwner: text('lease_owner'),
  lastError: text('last_error'),
  createdAt: moment('created_at').notNull(),
  endedAt: moment('ended_at'),
})

export const alertLinkTable = pgTable('alert_link', {
  id: text('id').primaryKey(),
  channelId: text('channel_id').notNull(),
  deliveryId: text('delivery_id'),
  incidentId: text('incident_id'),
  purpose: text('purpose', { enum: ['verify', 'acknowledge', 'confirm', 'reject'] }).notNull(),
  hash: text('hash').notNull(),
  createdAt: moment('created_at').notNull(),
  expiresAt: moment('expires_at').notNull(),
  usedAt: moment('used_at'),
})

export const alertVerificationTable = pgTable('alert_verification', {
  targetHash: text('target_hash').notNull(),
  holder: text('holder').notNull(),
  askedAt: moment('asked_at').notNull(),
})

export const alertSenderTable = pgTable('alert_sender', {
  kind: text('kind', { enum: ['email', 'telegram'] }).primaryKey(),
  configured: boolean('configured').notNull(),
  sender: text('sender'),
  toldAt: moment('told_at').notNull(),
  updateOffset: bigint('update_offset', { mode: 'number' }).notNull().default(0),
  poller: text('poller'),
  pollerUntil: moment('poller_until'),
})
