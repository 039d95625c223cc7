import { and, eq, isNull, type SQL } from 'drizzle-orm'
import type { PgColumn } from 'drizzle-orm/pg-core'
import type { WebhookRecipient } from './webhook.ts'

/** Rows of this recipient and of nobody else; the operator's are those of nobody. */
export function ofRecipient(
  table: { merchantId: PgColumn; account: PgColumn },
  { merchantId, account }: WebhookRecipient,
): SQL | undefined {
  return and(
    merchantId === null ? isNull(table.merchantId) : eq(table.merchantId, merchantId),
    account === null ? isNull(table.account) : eq(table.account, account),
  )
}
