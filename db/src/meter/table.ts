import { bigint, pgTable, smallint, text } from 'drizzle-orm/pg-core'
import { moment } from '../columns.ts'

export const meterGenerationTable = pgTable('meter_generation', {
  partition: smallint('partition').primaryKey(),
  generation: bigint('generation', { mode: 'number' }).notNull(),
  state: text('state', { enum: ['closed', 'open'] }).notNull(),
  storeRun: text('store_run').notNull().default(''),
  journalledAt: moment('journalled_at'),
  reason: text('reason'),
  changedAt: moment('changed_at').notNull().defaultNow(),
})

export const meterProcessTable = pgTable('meter_process', {
  instance: text('instance').primaryKey(),
  acknowledged: bigint('acknowledged', { mode: 'number' }).array().notNull(),
  seenAt: moment('seen_at').notNull().defaultNow(),
})
