import { sql } from 'drizzle-orm'
import { jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { moment } from '../columns.ts'

export const auditEntryTable = pgTable('audit_entry', {
  id: text('id').primaryKey(),
  actor: text('actor').notNull(),
  action: text('action').notNull(),
  outcome: text('outcome', { enum: ['done', 'refused'] }).notNull(),
  subject: text('subject').notNull(),
  note: text('note'),
  errorCode: text('error_code'),
  before: jsonb('before').$type<Record<string, unknown>>(),
  after: jsonb('after').$type<Record<string, unknown>>(),
  /** The database knows it by the transaction's settings. */
  requestId: text('request_id').default(sql`nullif(current_setting('stream.request_id', true), '')`),
  createdAt: moment('created_at').notNull().defaultNow(),
})
