import { bigint, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, bytes32, moment } from '../columns.ts'

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
