import type { PricingJson } from '@protocolbanks/stream-protocol'
import { boolean, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { address, moment, uint128 } from '../columns.ts'
import type { PricedRouteJson } from './pricingColumns.ts'

export const serviceTable = pgTable('service', {
  id: text('id').primaryKey(),
  merchantId: text('merchant_id').notNull(),
  name: text('name').notNull(),
  pathPrefix: text('path_prefix').notNull(),
  upstream: text('upstream'),
  upstreamTrusted: boolean('upstream_trusted').notNull().default(false),
  price: uint128('price_atomic').notNull(),
  exactPrice: uint128('exact_price_atomic'),
  pricing: jsonb('pricing').$type<PricingJson>().notNull().default({ kind: 'call' }),
  routes: jsonb('routes').$type<PricedRouteJson[]>().notNull().default([]),
  voucherGraceMs: integer('voucher_grace_ms').notNull().default(10_000),
  token: address('token').notNull(),
  threshold: uint128('threshold_atomic').notNull().default(10_000_000n),
  maxAgeSeconds: integer('max_age_seconds').notNull().default(86_400),
  maxAmountPerCall: uint128('max_amount_per_call'),
  maxCallsPerMinute: integer('max_calls_per_minute'),
  maxCallsPerHour: integer('max_calls_per_hour'),
  maxCallsPerDay: integer('max_calls_per_day'),
  maxAmountPerMinute: uint128('max_amount_per_minute'),
  maxAmountPerHour: uint128('max_amount_per_hour'),
  maxAmountPerDay: uint128('max_amount_per_day'),
  upstreamTimeoutMs: integer('upstream_timeout_ms').notNull().default(30_000),
  enabled: boolean('enabled').notNull().default(true),
  managedBy: text('managed_by', { enum: ['api', 'file'] })
    .notNull()
    .default('api'),
  createdAt: moment('created_at').notNull().defaultNow(),
  updatedAt: moment('updated_at').notNull().defaultNow(),
})
