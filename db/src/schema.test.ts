import { getTableColumns, getTableName } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import {
  alertChannelTable,
  alertDeliveryTable,
  alertLinkTable,
  alertSenderTable,
  alertVerificationTable,
} from './alerts/table.ts'
import { apiKeyTable } from './apiKeys/table.ts'
import { auditEntryTable } from './audit/table.ts'
import { grantControlTable } from './controls/table.ts'
import { accountTable, channelTable, grantTable } from './grants/table.ts'
import { idempotencyKeyTable } from './idempotency/table.ts'
import { chainEventTable, indexedBlockTable, indexerCursorTable } from './indexer/table.ts'
import { chargeTable, usageQuarantineTable } from './journal/table.ts'
import { grantLimitTable } from './limits/table.ts'
import { merchantCreditTable, merchantTable } from './merchants/table.ts'
import { meterGenerationTable, meterProcessTable } from './meter/table.ts'
import { outboxTable } from './outbox/table.ts'
import { ownerFreezeTable, ownerSessionTable } from './owners/table.ts'
import { reconciliationDifferenceTable, reconciliationTable } from './reconciliations/table.ts'
import {
  sentinelAllowTable,
  sentinelDryRunTable,
  sentinelRuleHoldTable,
  sentinelRuleTable,
  sentinelRuleVersionTable,
} from './rules/table.ts'
import {
  sentinelBreakerTable,
  sentinelCursorTable,
  sentinelDecisionTable,
  sentinelEventTable,
  sentinelGrantStateTable,
  sentinelHeartbeatTable,
  sentinelIncidentTable,
  sentinelStopTable,
  voucherPolicyTable,
} from './sentinel/table.ts'
import { serviceTable } from './services/table.ts'
import {
  payeeBlockTable,
  settlementItemTable,
  settlementRequestTable,
  settlementTable,
  settlementTransitionTable,
  settlementWriteOffTable,
} from './settlements/table.ts'
import { sponsorshipShareTable, sponsorshipTable } from './sponsorships/table.ts'
import { createTestDatabase, type TestDatabase } from './testing/createTestDatabase.ts'
import { settlementTransactionMemberTable, settlementTransactionTable } from './transactions/table.ts'
import { webhookAttemptTable, webhookDeliveryTable, webhookEndpointTable, webhookEventTable } from './webhooks/table.ts'
import {
  x402PaymentTable,
  x402PaymentTransitionTable,
  x402RelayerTable,
  x402TransactionTable,
} from './x402Payments/table.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const tables = [
  accountTable,
  alertChannelTable,
  alertDeliveryTable,
  alertLinkTable,
  alertSenderTable,
  alertVerificationTable,
  apiKeyTable,
  auditEntryTable,
  chainEventTable,
  channelTable,
  chargeTable,
  grantControlTable,
  grantTable,
  idempotencyKeyTable,
  indexedBlockTable,
  indexerCursorTable,
  grantLimitTable,
  merchantCreditTable,
  merchantTable,
  meterGenerationTable,
  meterProcessTable,
  outboxTable,
  payeeBlockTable,
  ownerFreezeTable,
  ownerSessionTable,
  reconciliationDifferenceTable,
  reconciliationTable,
  sentinelAllowTable,
  sentinelDryRunTable,
  sentinelRuleHoldTable,
  sentinelRuleTable,
  sentinelRuleVersionTable,
  sentinelBreakerTable,
  sentinelCursorTable,
  sentinelDecisionTable,
  sentinelEventTable,
  sentinelGrantStateTable,
  sentinelHeartbeatTable,
  sentinelIncidentTable,
  sentinelStopTable,
  voucherPolicyTable,
  serviceTable,
  settlementItemTable,
  settlementRequestTable,
  settlementTable,
  settlementTransactionMemberTable,
  settlementTransactionTable,
  settlementTransitionTable,
  settlementWriteOffTable,
  sponsorshipShareTable,
  sponsorshipTable,
  usageQuarantineTable,
  webhookAttemptTable,
  webhookDeliveryTable,
  webhookEndpointTable,
  webhookEventTable,
  x402PaymentTable,
  x402PaymentTransitionTable,
  x402RelayerTable,
  x402TransactionTable,
]

test('the tables in TypeScript are those that the migrations make, column by column', async () => {
  const rows = await database.query<{ table: string; column: string; nullable: boolean; type: string }>(
    `select c.table_name as table, c.column_name as column, c.is_nullable = 'YES' as nullable,
       coalesce(c.domain_name, format_type(a.atttypid, a.atttypmod)) as type
     from information_schema.columns c
     join pg_class r on r.relname = c.table_name and r.relnamespace = 'public'::regnamespace and not r.relispartition
     join pg_attribute a on a.attrelid = r.oid and a.attname = c.column_name
     where c.table_schema = 'public' and c.table_name <> 'stream_migration'`,
  )
  const inPostgres = rows.map(({ table, column, nullable, type }) => `${table}.${column} ${type} ${nullable}`)
  const inTypeScript = tables.flatMap((table) =>
    Object.values(getTableColumns(table)).map((column) => {
      const type = column.getSQLType().replace('timestamp (3) with time zone', 'timestamp(3) with time zone')

      return `${getTableName(table)}.${column.name} ${type} ${!column.notNull}`
    }),
  )
  expect(inTypeScript.toSorted()).toEqual(inPostgres.toSorted())
})
