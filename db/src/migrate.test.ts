import { readdir } from 'node:fs/promises'
import { type Address, packTerms } from '@protocolbanks/stream-protocol'
import pg from 'pg'
import { afterAll, afterEach, expect, inject, test } from 'vitest'
import { freezeGrant } from './controls/freezeGrant.ts'
import { createDb } from './createDb.ts'
import { getGrant } from './grants/grants.ts'
import { loadAccountState } from './grants/loadAccountState.ts'
import { appendCharges } from './journal/appendCharges.ts'
import { listCharges, usageOfGrant } from './journal/journal.ts'
import { getMerchant } from './merchants/merchants.ts'
import { MigrationChangedError, migrate, UnknownMigrationError } from './migrate.ts'
import { appendOutbox, claimOutbox } from './outbox/outbox.ts'
import { freezeAsOwner } from './owners/ownerFreezes.ts'
import { withOwner } from './owners/withOwner.ts'
import { createTestDatabase, type TestDatabase } from './testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, grantFromChain, randomAddress } from './testing/fixtures.ts'
import { createWebhookEndpoint } from './webhooks/endpoints.ts'
import { withTenant } from './withTenant.ts'

const databases: TestDatabase[] = []
afterEach(async () => {
  await Promise.all(databases.splice(0).map((database) => database.drop()))
})

async function database(options: { upTo?: string } = {}): Promise<TestDatabase> {
  const created = await createTestDatabase(inject('postgresUrl'), options)
  databases.push(created)
  return created
}

/** The migrations after the first. */
const newer = (await readdir(new URL('../migrations/', import.meta.url)))
  .filter((file) => file.endsWith('.sql') && !file.startsWith('0001'))
  .map((file) => file.slice(0, -'.sql'.length))
  .sort()

test('from empty: every migration runs once, in order', async () => {
  const { url, query } = await database()
  const applied = await query<{ name: string }>('select name from stream_migration order by applied_at, name')
  expect(applied.map(({ name }) => name)).toEqual(['0001_initial', ...newer])
  expect(await migrate({ url })).toEqual([])
})

test('from the first version: what was written is still there, and what is new works', async () => {
  const { url, db, query } = await database({ upTo: '0001_initial' })
  const payee = randomAddress()
  const grant = grantFromChain({ account: randomAddress(), status: 'active', blockNumber: 100n, payees: [payee] })
  const { grantId, account, terms } = grant
  // As that version wrote it: the queries of this one know more columns.
  const merchant = { id: 'mer_1', name: 'Weather Inc', payee, gasBudgetWeiPerDay: 5n }
  await query(`insert into merchant (id, name, payee, gas_budget_wei_per_day) values ('mer_1', 'Weather Inc', $1, 5)`, [
    payee.toLowerCase(),
  ])
  await query(
    `insert into "grant" (grant_id, account, session_key, settler, token, total_limit, period_limit, period, valid_after,
       valid_until, payee_root, source, salt, packed_terms, epoch, status, settled, block_number)
     values ($1, $2, $3, $4, $5, $6, 0, 0, $7, $8, $9, 'allowance', $10, $11, 0, 'active', 0, 100)`,
    [
      grantId,
      ...[account, terms.sessionKey, terms.settler, terms.token].map((address) => address.toLowerCase()),
      ...[terms.totalLimit, terms.validAfter, terms.validUntil, terms.payeeRoot, terms.salt, packTerms(terms)],
    ],
  )
  await query(
    `insert into channel (grant_id, payee, merchant_id, cumulative_amount, charged) values ($1, $2, 'mer_1', 9, 7)`,
    [grantId, payee.toLowerCase()],
  )
  await query(
    `insert into account (account, token, balance, allowance, account_frozen, guardian, epoch, block_number)
     values ($1, $2, 50, 30, false, $1, 0, 100)`,
    [account.toLowerCase(), terms.token.toLowerCase()],
  )
  await query('select ensure_charge_partition($1)', ['2026-06-01T00:00:00Z'])
  await query(
    `insert into charge (event_id, occurred_at, grant_id, payee, account, merchant_id, service_id, request_id,
       fingerprint, amount, cumulative_amount)
     values ('p7-1', '2026-06-01T00:00:00Z', $1, $2, $3, 'mer_1', 'svc_1', 'request', 'f', 7, 9)`,
    [grantId, payee.toLowerCase(), account.toLowerCase()],
  )

  expect(await migrate({ url })).toEqual(newer)

  expect(await getMerchant(db, 'mer_1')).toMatchObject(merchant)
  expect(await getGrant(db, grantId)).toMatchObject({
    ...terms,
    grantId,
    account,
    status: 'active',
    effectiveStatus: 'active',
    ownerFrozen: false,
    settled: 0n,
    blockNumber: 100n,
  })
  expect(await usageOfGrant(db, grant)).toMatchObject({ calls: 1, charged: 7n })
  await appendOutbox(db, { topic: 'test', merchantId: 'mer_1', payload: { a: 1 } })
  expect(await claimOutbox(db, { limit: 10, leaseMs: 1_000, now: new Date(Date.now() + 1_000) })).toHaveLength(1)
  const funds = { allowance: 30n, reserve: 0n }
  expect(await loadAccountState(db, account, terms.token)).toMatchObject({ funds })
})

test('several services may start at once: each migration runs once', async () => {
  const { url, query } = await database({ upTo: '0001_initial' })
  const applied = await Promise.all(Array.from({ length: 5 }, () => migrate({ url })))
  expect(applied.flat().toSorted()).toEqual(newer)
  expect(await query('select count(*)::integer as count from stream_migration')).toEqual([{ count: 1 + newer.length }])
})

test('several databases of one cluster may be migrated at once, though they share the roles', async () => {
  const created = await Promise.all(Array.from({ length: 4 }, () => database()))
  for (const { db } of created) await db.ping()
})

test('a migration that was changed after it ran is refused', async () => {
  const { url, query } = await database()
  await query(`update stream_migration set sha256 = 'other' where name = '0001_initial'`)
  await expect(migrate({ url })).rejects.toBeInstanceOf(MigrationChangedError)
})

test('an unknown version is refused', async () => {
  const { url } = await database()
  await expect(migrate({ url, upTo: '9999_future' })).rejects.toBeInstanceOf(UnknownMigrationError)
})

test('a migration that fails leaves nothing of itself behind', async () => {
  const { url, query } = await database({ upTo: '0001_initial' })
  await query('create table sentinel_event (id integer)')
  await expect(migrate({ url })).rejects.toThrow(/0002_outbox_sentinel failed.*\n.*"sentinel_event" already exists/)
  expect(await query(`select to_regclass('outbox') as outbox`)).toEqual([{ outbox: null }])
  await query('drop table sentinel_event')
  expect(await migrate({ url })).toEqual(newer)
})

// A login of its own, as an operator would have it: no superuser, owner of its database.
const login = `stream_login_${process.pid}_${Date.now()}`
afterAll(() => onServer((client) => client.query(`drop role if exists ${login}`)))

test('a login that is no superuser can migrate, serve, and keep tenants and owners apart', async () => {
  await onServer((client) => client.query(`create role ${login} login createrole password 'secret'`))
  // The roles may exist already, made by another login; then they are granted by whoever owns them.
  await database()
  await onServer(async (client) => {
    await client.query(`grant stream_service, stream_tenant, stream_owner to ${login} with admin option`)
    await client.query(`create database ${login} owner ${login}`)
  })
  const url = new URL(inject('postgresUrl'))
  url.username = login
  url.password = 'secret'
  url.pathname = `/${login}`
  const db = createDb({ url: url.href, onError: () => {} })
  try {
    await migrate({ url: url.href })
    const seller = await arrangeMerchant(db)
    const grant = await arrangeGrant(db, [seller.merchant])
    const charge = { amount: 7n, cumulativeAmount: 9n, occurredAtMs: Date.UTC(2030, 5, 1) }
    expect(await appendCharges(db, [chargeEvent(grant, seller, charge)])).toBe(1)
    const other = await arrangeMerchant(db)
    const seen = (merchantId: string) => withTenant(db, merchantId, async (tx) => (await listCharges(tx)).items.length)
    expect([await seen(seller.merchant.id), await seen(other.merchant.id)]).toEqual([1, 0])
    const freeze = {
      grantId: grant.grantId,
      merchantId: seller.merchant.id,
      holder: 'merchant',
      reason: 'abuse',
      actor: 'test',
    } as const
    await withTenant(db, seller.merchant.id, (tx) => freezeGrant(tx, freeze))
    const owned = (account: Address) => withOwner(db, account, async (tx) => (await listCharges(tx)).items.length)
    expect([await owned(grant.account), await owned(randomAddress())]).toEqual([1, 0])
    const { account, grantId } = grant
    const sealSecret = (id: string) => id
    await createWebhookEndpoint(db, { merchantId: null, account, url: 'https://example.com', sealSecret })
    await withOwner(db, account, (tx) => freezeAsOwner(tx, { account, grantId, reason: 'lost' }))
    const told = await claimOutbox(db, { limit: 10, leaseMs: 1_000, now: new Date(Date.now() + 1_000) })
    expect(told.map((message) => message.merchantId ?? message.account)).toEqual([
      seller.merchant.id,
      seller.merchant.id,
      account,
    ])
  } finally {
    await db.close()
    await onServer((client) => client.query(`drop database ${login} with (force)`))
  }
})

async function onServer(run: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') })
  await client.connect()
  try {
    await run(client)
  } finally {
    await client.end()
  }
}
