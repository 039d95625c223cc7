import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { createAlertChannel } from '../alerts/channels.ts'
import { listControls, setControl } from '../controls/controls.ts'
import type { Tx } from '../createDb.ts'
import { errorCodeOf } from '../errors.ts'
import { listChannels } from '../grants/channels.ts'
import { getGrant, listGrants } from '../grants/grants.ts'
import { listAccountFunds } from '../grants/listAccountFunds.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { listCharges } from '../journal/journal.ts'
import { appendOutbox } from '../outbox/outbox.ts'
import { appendSentinelEvent } from '../sentinel/sentinelEvents.ts'
import { claimSettlement } from '../settlements/claimSettlement.ts'
import { getSettlement, listSettlements } from '../settlements/settlements.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomHex, usdc } from '../testing/fixtures.ts'
import { createTestDelivery } from '../webhooks/deliveries.ts'
import { createWebhookEndpoint, getWebhookEndpoint, listWebhookEndpoints } from '../webhooks/endpoints.ts'
import { leaseWebhookDeliveries } from '../webhooks/leaseWebhookDeliveries.ts'
import { recordWebhookAttempt } from '../webhooks/recordWebhookAttempt.ts'
import { withTenant } from '../withTenant.ts'
import { ownerActor } from './ownerActor.ts'
import { freezeAsOwner, listOwnerFreezes, unfreezeAsOwner } from './ownerFreezes.ts'
import { openOwnerSession } from './ownerSessions.ts'
import { withOwner } from './withOwner.ts'

let database: TestDatabase
let shop: Awaited<ReturnType<typeof arrangeMerchant>>
let mine: Awaited<ReturnType<typeof arrangeOwner>>
let other: Awaited<ReturnType<typeof arrangeOwner>>

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  shop = await arrangeMerchant(database.db)
  mine = await arrangeOwner()
  other = await arrangeOwner()
})
afterAll(() => database.drop())

/** An account with a row of its own in every table that knows accounts. */
async function arrangeOwner() {
  const { db } = database
  const grant = await arrangeGrant(db, [shop.merchant])
  const { account, grantId } = grant
  const now = new Date()
  const charge = { amount: 5n, cumulativeAmount: 5n, occurredAtMs: now.getTime() }
  await appendCharges(db, [chargeEvent(grant, shop, charge)])
  const lease = { leaseOwner: 'test', leaseMs: 1_000, now }
  const work = await claimSettlement(db, { grantId, trigger: 'request', ...lease })
  if (!work) throw new Error('nothing to settle')
  await setControl(db, {
    grantId,
    merchantId: null,
    holder: 'operator',
    state: 'frozen',
    reason: 'test',
    actor: 'test',
  })
  await withOwner(db, account, (tx) => freezeAsOwner(tx, { account, grantId, reason: 'test' }))
  await openOwnerSession(db, { account, nonce: randomHex(16), now, expiresAt: new Date(now.getTime() + 60_000) })
  await appendOutbox(db, { topic: 'test', merchantId: null, account, payload: {} })
  await appendSentinelEvent(db, { kind: 'alert', account, grantId, detail: {} })
  await database.query(
    `insert into chain_event (block_number, block_hash, log_index, tx_hash, name, account, data)
     values (1, $1, 0, $1, 'Installed', $2, '{}')`,
    [randomHex(32), account.toLowerCase()],
  )
  const alert = { merchantId: null, account, kind: 'email', leastSeverity: 'info', now } as const
  await createAlertChannel(db, { ...alert, target: `${randomHex(8)}@example.com` })
  const endpoint = await createWebhookEndpoint(db, {
    merchantId: null,
    account,
    url: 'https://example.com',
    sealSecret: (id) => id,
  })
  if (!endpoint) throw new Error('no endpoint')
  await createTestDelivery(db, { endpointId: endpoint.id, merchantId: null, account, type: 'test', now })
  const due = { owner: account, now, leaseMs: 1_000, limit: 1, perEndpoint: 1 }
  const [leased] = await leaseWebhookDeliveries(db, due)
  if (!leased) throw new Error('nothing to deliver')
  const attempt = { startedAt: now, durationMs: 1, statusCode: 204, responseBody: '', error: null }
  const verdict = { state: 'delivered' } as const
  const record = { delivery: leased.delivery, owner: account, attempt, verdict, now, disabledTopic: 'test' }
  expect(await recordWebhookAttempt(db, record)).toEqual({ recorded: true, disabled: false })
  return { grant, account, grantId, endpointId: endpoint.id, settlementId: work.settlement.id }
}

/** Tables and partitions with rows of accounts, from the catalogue: a new table cannot be forgotten here. */
async function accountTables(): Promise<string[]> {
  const rows = await database.query<{ name: string }>(
    `select table_name as name from information_schema.columns
     where table_schema = 'public' and column_name = 'account' order by 1`,
  )
  return rows.map(({ name }) => name)
}

/** What a statement did: rows, or that Postgres forbade it (42501: no privilege, or a policy). */
async function attempt(statement: (tx: Tx) => Promise<{ rowCount: number | null }>): Promise<number | 'forbidden'> {
  try {
    return await withOwner(database.db, mine.account, async (tx) => (await statement(tx)).rowCount ?? 0)
  } catch (error) {
    if (errorCodeOf(error) === '42501') return 'forbidden'
    throw error
  }
}

describe.each(['with the privileges of the migrations', 'with every privilege, so that policies alone protect'])(
  'an owner, %s',
  (privileges) => {
    beforeAll(async () => {
      if (!privileges.startsWith('with every')) return
      await database.query('grant all on all tables in schema public to stream_owner')
    })

    test('reads, updates and deletes nothing of another account in any table, whatever the query says', async () => {
      const tables = await accountTables()
      expect(tables).toEqual(
        expect.arrayContaining([
          'account',
          'charge',
          'grant',
          'outbox',
          'owner_session',
          'settlement',
          'webhook_event',
        ]),
      )
      const [own, theirs] = [mine.account.toLowerCase(), other.account.toLowerCase()]
      for (const name of tables) {
        const [locked] = await database.query<{ locked: boolean }>(
          `select relrowsecurity and relforcerowsecurity as locked from pg_class
           where relname = $1 and relnamespace = 'public'::regnamespace`,
          [name],
        )
        // What has no policies is not for owners at all, and no privilege may change that.
        if (!locked?.locked) {
          await database.query(`revoke all on "${name}" from stream_owner`)
          expect(await attempt((tx) => tx.execute(sql`select from ${sql.identifier(name)}`)), name).toBe('forbidden')
          continue
        }
        const table = sql.identifier(name)
        const rows = await database.query(`select from "${name}" where account = $1`, [theirs])
        const isEmpty = rows.length === 0
        const all = await database.query(`select from "${name}" where account is not null`)
        expect(isEmpty && all.length > 0, `${name} has rows of accounts, and none of the other one`).toBe(false)
        const statements = {
          read: sql`select * from ${table} where account = ${theirs}`,
          'read without an account': sql`select * from ${table} where account is distinct from ${own}`,
          update: sql`update ${table} set account = ${own} where account = ${theirs}`,
          delete: sql`delete from ${table} where account = ${theirs}`,
          'give away': sql`update ${table} set account = ${theirs}`,
        }
        for (const [what, statement] of Object.entries(statements)) {
          expect(await attempt((tx) => tx.execute(statement)), `${what}: ${name}`).toBeOneOf([0, 'forbidden'])
        }
        const values = JSON.stringify({ account: theirs, occurred_at: new Date().toISOString() })
        const insert = sql`insert into ${table} overriding system value
          select (jsonb_populate_record(null::${table}, ${values}::jsonb)).*`
        expect(await attempt((tx) => tx.execute(insert)), `insert into ${name}`).toBe('forbidden')
        const left = await database.query(`select from "${name}" where account = $1`, [theirs])
        expect(left.length, `${name} afterwards`).toBe(rows.length)
      }
    })

    test('sees what belongs to their grants and settlements, and of others nothing', async () => {
      const visible = (tx: Tx, table: string, column: string) =>
        tx.execute(sql`select ${sql.identifier(column)} as id from ${sql.identifier(table)}`)
      const seen = await withOwner(database.db, mine.account, async (tx) => [
        (await visible(tx, 'channel', 'grant_id')).rows,
        (await visible(tx, 'grant_control', 'grant_id')).rows,
        (await visible(tx, 'settlement_item', 'settlement_id')).rows,
      ])
      expect(seen).toEqual([[{ id: mine.grantId }], [{ id: mine.grantId }], [{ id: mine.settlementId }]])
    })

    test('writes nothing into the audit but in their own name', async () => {
      const entry = (actor: string) =>
        attempt((tx) =>
          tx.execute(sql`insert into audit_entry (id, actor, action, outcome, subject)
            values (${`aud_${randomHex(16)}`}, ${actor}, 'owner_freeze', 'done', 'x')`),
        )
      expect(await entry(ownerActor(mine.account))).toBe(1)
      for (const actor of [ownerActor(other.account), 'operator', 'owner:'])
        expect(await entry(actor)).toBe('forbidden')
    })
  },
)

test('an owner reads no audit, no merchant, no key and nothing of the services', async () => {
  // The second pass above gave every privilege; take back what was never meant.
  const tables = [
    'audit_entry',
    'merchant',
    'api_key',
    'service',
    'outbox',
    'owner_session',
    'chain_event',
    'sponsorship',
  ]
  for (const name of tables) {
    await database.query(`revoke select, update, delete on ${name} from stream_owner`)
    expect(await attempt((tx) => tx.execute(sql`select from ${sql.identifier(name)}`)), name).toBe('forbidden')
  }
  expect(await attempt((tx) => tx.execute(sql`select ensure_charge_partition(now())`))).toBe('forbidden')
})

test('the queries of an owner answer with their account alone', async () => {
  await withOwner(database.db, mine.account, async (tx) => {
    expect((await listGrants(tx)).items.map(({ grantId }) => grantId)).toEqual([mine.grantId])
    expect(await getGrant(tx, mine.grantId)).toMatchObject({ effectiveStatus: 'frozen', ownerFrozen: true })
    expect(await getGrant(tx, other.grantId)).toBeUndefined()
    expect((await listCharges(tx)).items.map(({ account }) => account)).toEqual([mine.account])
    expect(await listChannels(tx, other.grantId)).toEqual([])
    expect((await listControls(tx)).map(({ grantId }) => grantId)).toEqual([mine.grantId])
    expect((await listOwnerFreezes(tx, [mine.grantId, other.grantId])).map(({ grantId }) => grantId)).toEqual([
      mine.grantId,
    ])
    expect((await listAccountFunds(tx, [mine.account, other.account], usdc)).map(({ account }) => account)).toEqual([
      mine.account,
    ])
    expect((await listSettlements(tx)).items.map(({ id }) => id)).toEqual([mine.settlementId])
    expect(await getSettlement(tx, other.settlementId)).toBeUndefined()
    expect((await listWebhookEndpoints(tx)).items.map(({ id }) => id)).toEqual([mine.endpointId])
    expect(await getWebhookEndpoint(tx, other.endpointId)).toBeUndefined()
  })
})

test("an owner freezes and unfreezes their own grants, and nobody else's, whatever they claim to be", async () => {
  const theirs = { account: other.account, grantId: other.grantId, reason: 'x' }
  await withOwner(database.db, mine.account, async (tx) => {
    expect(await freezeAsOwner(tx, { ...theirs, account: mine.account })).toBe(false)
    expect(await freezeAsOwner(tx, theirs)).toBe(false)
    expect(await unfreezeAsOwner(tx, theirs)).toBe(false)
    expect(await unfreezeAsOwner(tx, { ...theirs, account: mine.account })).toBe(false)
  })
  const insert = (account: string) =>
    attempt((tx) =>
      tx.execute(sql`insert into owner_freeze (grant_id, account, reason, actor)
        values (${other.grantId}, ${account}, 'x', 'x') on conflict do nothing`),
    )
  expect(await insert(mine.account.toLowerCase())).toBe('forbidden')
  expect(await insert(other.account.toLowerCase())).toBe('forbidden')
  const own = { account: mine.account, grantId: mine.grantId, reason: 'Lost.' }
  expect(await withOwner(database.db, mine.account, (tx) => unfreezeAsOwner(tx, own))).toBe(true)
  expect(await withOwner(database.db, mine.account, (tx) => unfreezeAsOwner(tx, own))).toBe(false)
  expect(await withOwner(database.db, mine.account, (tx) => freezeAsOwner(tx, own))).toBe(true)
})

test("a merchant sees that an owner froze a grant of theirs, and no owner's webhooks", async () => {
  const stranger = await arrangeMerchant(database.db)
  const seen = (merchantId: string) =>
    withTenant(database.db, merchantId, async (tx) => [
      (await listOwnerFreezes(tx, [mine.grantId])).length,
      (await getGrant(tx, mine.grantId))?.ownerFrozen,
      (await listWebhookEndpoints(tx)).items.length,
    ])
  expect(await seen(shop.merchant.id)).toEqual([1, true, 0])
  expect(await seen(stranger.merchant.id)).toEqual([0, undefined, 0])
})

test('the role does not outlive the transaction, also when it fails; without an account it sees nothing', async () => {
  const failing = withOwner(database.db, mine.account, async () => {
    throw new Error('wanted')
  })
  await expect(failing).rejects.toThrow('wanted')
  for (let connection = 0; connection < 10; connection++) {
    const { rows } = await database.db.execute(
      sql`select current_user::text as role, current_setting('stream.account', true) as account`,
    )
    expect(rows).toEqual([{ role: 'stream_service', account: expect.toBeOneOf(['', null]) }])
  }
  for (const nobody of ['0x', '0x0000000000000000000000000000000000000000'] as const) {
    const counts = await withOwner(database.db, nobody, async (tx) => [
      (await listGrants(tx)).items.length,
      (await listCharges(tx)).items.length,
      (await listSettlements(tx)).items.length,
      (await listWebhookEndpoints(tx)).items.length,
    ])
    expect(counts).toEqual([0, 0, 0, 0])
  }
})
