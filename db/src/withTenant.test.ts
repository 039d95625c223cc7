import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { createAlertChannel } from './alerts/channels.ts'
import { issueApiKey, listApiKeys, revokeApiKey } from './apiKeys/apiKeys.ts'
import { clearControl, listControls, setControl } from './controls/controls.ts'
import type { Tx } from './createDb.ts'
import { errorCodeOf } from './errors.ts'
import { getGrant, listGrants } from './grants/grants.ts'
import { appendCharges } from './journal/appendCharges.ts'
import { listCharges } from './journal/journal.ts'
import { setMerchantCredit } from './merchants/credit.ts'
import { createMerchant, getMerchant } from './merchants/merchants.ts'
import { appendOutbox } from './outbox/outbox.ts'
import { appendSentinelEvent } from './sentinel/sentinelEvents.ts'
import { createService, listServices, updateService } from './services/services.ts'
import { claimSettlement } from './settlements/claimSettlement.ts'
import { requestSettlement } from './settlements/requestSettlement.ts'
import { getSettlement, listSettlements } from './settlements/settlements.ts'
import { reserveSponsorship } from './sponsorships/sponsorships.ts'
import { createTestDatabase, type TestDatabase } from './testing/createTestDatabase.ts'
import {
  arrangeGrant,
  arrangeMerchant,
  chargeEvent,
  randomAddress,
  randomHex,
  usdc,
  x402Payment,
} from './testing/fixtures.ts'
import { createTestDelivery } from './webhooks/deliveries.ts'
import { createWebhookEndpoint } from './webhooks/endpoints.ts'
import { leaseWebhookDeliveries } from './webhooks/leaseWebhookDeliveries.ts'
import { recordWebhookAttempt } from './webhooks/recordWebhookAttempt.ts'
import { withTenant } from './withTenant.ts'
import { takeX402Payment } from './x402Payments/takeX402Payment.ts'

let database: TestDatabase
let mine: Awaited<ReturnType<typeof arrangeSeller>>
let other: Awaited<ReturnType<typeof arrangeSeller>>

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  mine = await arrangeSeller()
  other = await arrangeSeller()
})
afterAll(() => database.drop())

/** A merchant with a row of theirs in every table that knows merchants. */
async function arrangeSeller() {
  const { db } = database
  const seller = await arrangeMerchant(db)
  const merchantId = seller.merchant.id
  const grant = await arrangeGrant(db, [seller.merchant])
  const now = new Date()
  await appendCharges(db, [
    chargeEvent(grant, seller, { amount: 5n, cumulativeAmount: 5n, occurredAtMs: now.getTime() }),
  ])
  const apiKey = await issueApiKey(db, { merchantId, name: 'ci' })
  await setControl(db, {
    grantId: grant.grantId,
    merchantId,
    holder: 'merchant',
    state: 'frozen',
    reason: 'test',
    actor: 'test',
  })
  await requestSettlement(db, { grantId: grant.grantId, merchantId, actor: 'test' })
  const work = await claimSettlement(db, {
    grantId: grant.grantId,
    trigger: 'request',
    leaseOwner: 'test',
    leaseMs: 1_000,
    now,
  })
  if (!work) throw new Error('nothing to settle')
  await reserveSponsorship(db, {
    userOpHash: randomHex(32),
    sender: grant.account,
    kind: 'settle',
    maxCostWei: 1n,
    validUntil: now,
    now,
    shares: [{ merchantId, maxCostWei: 1n }],
  })
  await appendOutbox(db, { topic: 'test', merchantId, payload: {} })
  await appendSentinelEvent(db, { kind: 'alert', merchantId, detail: {} })
  await arrangeWebhook(merchantId, now)
  const alert = { merchantId, account: null, kind: 'email', leastSeverity: 'info', now } as const
  await createAlertChannel(db, { ...alert, target: `${randomHex(8)}@example.com` })
  await takeX402Payment(db, x402Payment(seller), { owner: 'test', leaseMs: 1_000, now })
  await setMerchantCredit(db, { merchantId, mode: 'reserve_only', actor: 'test' })
  await arrangeRule(merchantId, grant)
  return { ...seller, grant, apiKey, settlementId: work.settlement.id }
}

/** A rule of the merchant's own, and a row of everything that comes of one. */
async function arrangeRule(merchantId: string, { grantId, account }: { grantId: string; account: string }) {
  const [rule, incident, id] = [randomHex(16), randomHex(16), randomHex(16)].map((hex) => hex.slice(2))
  const values = [`rul_${rule}`, merchantId]
  await database.query(`insert into sentinel_rule (id, merchant_id, state, version) values ($1, $2, 'live', 1)`, values)
  await database.query(
    `insert into sentinel_rule_version (rule_id, version, merchant_id, name, expression, scope, action, severity, actor)
     values ($1, 1, $2, 'test', 'true', '{}', 'alert', 'info', 'test')`,
    values,
  )
  await database.query(
    `insert into sentinel_dry_run
       (id, merchant_id, rule_id, expression, scope, action, from_at, until_at, state, actor)
     values ($3, $2, $1, 'true', '{}', 'alert', '2026-01-01', '2026-01-02', 'pending', 'test')`,
    [...values, `dry_${id}`],
  )
  await database.query(
    `insert into sentinel_allow (id, merchant_id, kind, value, actor) values ($2, $1, 'service', 'any', 'test')`,
    [merchantId, `alw_${id}`],
  )
  await database.query(
    `insert into sentinel_incident
       (id, grant_id, account, rule, rule_version, rule_id, action, severity, state, inputs, explanation, opened_at, last_found_at)
     values ($1, $2, $3, 'test', 1, $4, 'freeze', 'info', 'open', '{}', 'test', now(), now())`,
    [`inc_${incident}`, grantId, account.toLowerCase(), `rul_${rule}`],
  )
  await database.query(
    `insert into sentinel_rule_hold (id, incident_id, rule_id, grant_id, account, merchant_id, reason, created_at)
     values ($1, $2, $3, $4, $5, $6, 'test', now())`,
    [`rhd_${id}`, `inc_${incident}`, `rul_${rule}`, grantId, account.toLowerCase(), merchantId],
  )
}

async function arrangeWebhook(merchantId: string, now: Date) {
  const { db } = database
  const endpoint = await createWebhookEndpoint(db, {
    merchantId,
    account: null,
    url: 'https://example.com',
    sealSecret: (id) => id,
  })
  if (!endpoint) throw new Error('no endpoint')
  await createTestDelivery(db, { endpointId: endpoint.id, merchantId, account: null, type: 'test', now })
  const [leased] = await leaseWebhookDeliveries(db, {
    owner: merchantId,
    now,
    leaseMs: 1_000,
    limit: 1,
    perEndpoint: 1,
  })
  if (!leased) throw new Error('nothing to deliver')
  const attempt = { startedAt: now, durationMs: 1, statusCode: 204, responseBody: '', error: null }
  const verdict = { state: 'delivered' } as const
  const record = { delivery: leased.delivery, owner: merchantId, attempt, verdict, now, disabledTopic: 'test' }
  expect(await recordWebhookAttempt(db, record)).toEqual({ recorded: true, disabled: false })
}

/** Tables and partitions with rows of merchants, from the catalogue: a new table cannot be forgotten here. */
async function tenantTables(): Promise<{ name: string; column: string; hasMoment: boolean }[]> {
  const rows = await database.query<{ name: string; column: string; hasMoment: boolean }>(
    `select table_name as name, column_name as column,
       exists (select from information_schema.columns o
         where (o.table_schema, o.table_name, o.column_name) = (c.table_schema, c.table_name, 'occurred_at')) as "hasMoment"
     from information_schema.columns c
     where table_schema = 'public' and (column_name = 'merchant_id' or (table_name, column_name) = ('merchant', 'id'))
     order by 1`,
  )
  return rows
}

/** What a statement did: rows, or that Postgres forbade it (42501: no privilege, or a policy). */
async function attempt(statement: (tx: Tx) => Promise<{ rowCount: number | null }>): Promise<number | 'forbidden'> {
  try {
    return await withTenant(database.db, mine.merchant.id, async (tx) => (await statement(tx)).rowCount ?? 0)
  } catch (error) {
    if (errorCodeOf(error) === '42501') return 'forbidden'
    throw error
  }
}

describe.each(['with the privileges of the migrations', 'with every privilege, so that policies alone protect'])(
  'a tenant, %s',
  (privileges) => {
    beforeAll(async () => {
      if (!privileges.startsWith('with every')) return
      await database.query('grant all on all tables in schema public to stream_tenant')
    })

    test('reads, updates and deletes nothing of another merchant in any table, whatever the query says', async () => {
      const tables = await tenantTables()
      expect(tables.map(({ name }) => name)).toEqual(
        expect.arrayContaining(['api_key', 'channel', 'charge', 'merchant', 'outbox', 'sentinel_event', 'service']),
      )
      expect(tables.filter(({ name }) => /^charge_\d/.test(name)).length).toBeGreaterThanOrEqual(2)
      for (const { name, column, hasMoment } of tables) {
        const table = sql.identifier(name)
        const merchant = sql.identifier(column)
        const theirs = sql`${merchant} = ${other.merchant.id}`
        const rows = await database.query(`select from ${name} where ${column} = $1`, [other.merchant.id])
        if (name !== 'charge' && /^charge_/.test(name) && rows.length === 0) continue
        expect(rows.length, `${name} has rows of the other merchant`).toBeGreaterThan(0)
        const read = await attempt((tx) => tx.execute(sql`select * from ${table} where ${theirs}`))
        expect(read, `select from ${name}`).toBeOneOf([0, 'forbidden'])
        const seen = await attempt((tx) =>
          tx.execute(sql`select * from ${table} where ${merchant} <> ${mine.merchant.id}`),
        )
        expect(seen, `select from ${name} without a merchant`).toBeOneOf([0, 'forbidden'])
        const updated = await attempt((tx) =>
          tx.execute(sql`update ${table} set ${merchant} = ${mine.merchant.id} where ${theirs}`),
        )
        expect(updated, `update ${name}`).toBeOneOf([0, 'forbidden'])
        const removed = await attempt((tx) => tx.execute(sql`delete from ${table} where ${theirs}`))
        expect(removed, `delete from ${name}`).toBeOneOf([0, 'forbidden'])
        const given = await attempt((tx) => tx.execute(sql`update ${table} set ${merchant} = ${other.merchant.id}`))
        expect(given, `update ${name}, to the other merchant`).toBeOneOf([0, 'forbidden'])
        const inserted = await attempt((tx) => tx.execute(emptyRow(name, column, hasMoment)))
        expect(inserted, `insert into ${name}`).toBe('forbidden')
        const left = await database.query(`select from ${name} where ${column} = $1`, [other.merchant.id])
        expect(left.length, `${name} afterwards`).toBe(rows.length)
      }
    })

    test('sees no grant, account, settlement or chain data but what belongs to its channels', async () => {
      const tables = { grant: 'grant_id', account: 'account', settlement: 'grant_id' } as const
      for (const [name, column] of Object.entries(tables)) {
        const rows = await withTenant(database.db, mine.merchant.id, (tx) =>
          tx.execute(sql`select ${sql.identifier(column)} as id from ${sql.identifier(name)}`),
        )
        expect(rows.rows).toEqual([
          { id: column === 'account' ? mine.grant.account.toLowerCase() : mine.grant.grantId },
        ])
      }
    })
  },
)

/**
 * Inserts a row for the other merchant, otherwise empty: a policy that let it through would fail on a constraint instead
 * of with "forbidden". The time finds the partition.
 */
function emptyRow(table: string, column: string, hasMoment: boolean) {
  const [into, id] = [sql.identifier(table), sql.identifier(column)]
  return hasMoment
    ? sql`insert into ${into} (${id}, occurred_at) values (${other.merchant.id}, now())`
    : sql`insert into ${into} (${id}) values (${other.merchant.id})`
}

test('every table with merchants in it forces row-level security, partitions too', async () => {
  const forced = await database.query<{ name: string; forced: boolean }>(
    `select relname as name, relrowsecurity and relforcerowsecurity as forced from pg_class
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')`,
  )
  const byName = new Map(forced.map((row) => [row.name, row.forced]))
  for (const { name } of await tenantTables()) expect(byName.get(name), name).toBe(true)
})

test('without a merchant a tenant sees nothing at all', async () => {
  for (const merchantId of ['', 'mer_nobody']) {
    const counts = await withTenant(database.db, merchantId, async (tx) => [
      (await listServices(tx)).items.length,
      (await listCharges(tx)).items.length,
      (await listGrants(tx)).items.length,
      (await listSettlements(tx)).items.length,
    ])
    expect(counts).toEqual([0, 0, 0, 0])
  }
})

test('the queries of a tenant answer with their own rows only', async () => {
  await withTenant(database.db, mine.merchant.id, async (tx) => {
    expect(await getMerchant(tx, mine.merchant.id)).toMatchObject({ id: mine.merchant.id })
    expect(await getMerchant(tx, other.merchant.id)).toBeUndefined()
    expect((await listServices(tx)).items.map(({ id }) => id)).toEqual([mine.service.id])
    expect((await listApiKeys(tx)).items.map(({ id }) => id)).toEqual([mine.apiKey.id])
    expect((await listGrants(tx)).items.map(({ grantId }) => grantId)).toEqual([mine.grant.grantId])
    expect(await getGrant(tx, other.grant.grantId)).toBeUndefined()
    expect((await listCharges(tx)).items.map(({ grantId }) => grantId)).toEqual([mine.grant.grantId])
    expect(await getSettlement(tx, other.settlementId)).toBeUndefined()
    expect((await getSettlement(tx, mine.settlementId))?.items).toHaveLength(1)
    expect(await revokeApiKey(tx, other.apiKey.id)).toBe(false)
    expect(await updateService(tx, other.service.id, { enabled: false })).toBeUndefined()
    expect(
      await clearControl(tx, { grantId: other.grant.grantId, merchantId: other.merchant.id, holder: 'merchant' }),
    ).toBe(false)
    const request = { grantId: other.grant.grantId, merchantId: mine.merchant.id, actor: 'me' }
    expect(await requestSettlement(tx, request)).toBeUndefined()
  })
})

test('what a tenant may write, it may write for itself', async () => {
  const merchantId = mine.merchant.id
  const key = await withTenant(database.db, merchantId, async (tx) => {
    await createService(tx, { merchantId, name: 'own', pathPrefix: '/own', price: 1n, token: usdc })
    await requestSettlement(tx, { grantId: mine.grant.grantId, merchantId, actor: 'me' })
    await requestSettlement(tx, { grantId: mine.grant.grantId, merchantId, actor: 'me' })
    await setControl(tx, {
      grantId: mine.grant.grantId,
      merchantId,
      holder: 'merchant',
      state: 'removed',
      reason: 'abuse',
      actor: 'me',
    })
    expect(await clearControl(tx, { grantId: mine.grant.grantId, merchantId, holder: 'merchant' })).toBe(true)
    return issueApiKey(tx, { merchantId, name: 'second' })
  })
  await withTenant(database.db, merchantId, async (tx) => {
    expect(await revokeApiKey(tx, key.id)).toBe(true)
  })
})

test("a tenant sees the operator's freeze of a grant it uses, and of no other", async () => {
  for (const { grantId } of [mine.grant, other.grant]) {
    await setControl(database.db, {
      grantId,
      merchantId: null,
      holder: 'sentinel',
      state: 'frozen',
      reason: 'fraud',
      actor: 'sentinel',
    })
  }
  await withTenant(database.db, mine.merchant.id, async (tx) => {
    const operators = (await listControls(tx)).filter(({ merchantId }) => merchantId === null)
    expect(operators.map(({ grantId }) => grantId)).toEqual([mine.grant.grantId])
    expect(await getGrant(tx, mine.grant.grantId)).toMatchObject({ status: 'active', effectiveStatus: 'frozen' })
  })
})

test('the role does not outlive the transaction, also when it fails', async () => {
  const failing = withTenant(database.db, mine.merchant.id, async () => {
    throw new Error('wanted')
  })
  await expect(failing).rejects.toThrow('wanted')
  for (let connection = 0; connection < 10; connection++) {
    const { rows } = await database.db.execute(
      sql`select current_user::text as role, current_setting('stream.merchant_id', true) as merchant`,
    )
    expect(rows).toEqual([{ role: 'stream_service', merchant: expect.toBeOneOf(['', null]) }])
  }
})

test('a tenant cannot reach what belongs to no merchant', async () => {
  for (const name of ['indexer_cursor', 'chain_event', 'sponsorship', 'stream_migration']) {
    // The second pass above gave every privilege; take those back that were never meant.
    await database.query(`revoke all on ${name} from stream_tenant`)
    expect(await attempt((tx) => tx.execute(sql`select from ${sql.identifier(name)}`))).toBe('forbidden')
  }
  expect(await attempt((tx) => tx.execute(sql`select ensure_charge_partition(now())`))).toBe('forbidden')
})

test('a payee that was nobody becomes visible with its merchant', async () => {
  const address = randomAddress()
  await database.query(`insert into channel (grant_id, payee, settled, settled_block) values ($1, $2, 5, 1)`, [
    randomHex(32),
    address.toLowerCase(),
  ])
  const merchant = await createMerchant(database.db, { name: 'late', payee: address })
  const { rows } = await withTenant(database.db, merchant.id, (tx) => tx.execute(sql`select payee from channel`))
  expect(rows).toEqual([{ payee: address.toLowerCase() }])
})
