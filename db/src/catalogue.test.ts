import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { authenticateApiKey, issueApiKey, listApiKeys, revokeApiKey } from './apiKeys/apiKeys.ts'
import { listGrants } from './grants/grants.ts'
import { defaultCredit } from './merchants/credit.ts'
import {
  createMerchant,
  getMerchantByPayee,
  listMerchants,
  PayeeTakenError,
  setGasBudget,
} from './merchants/merchants.ts'
import { InvalidCursorError } from './page.ts'
import { appendSentinelEvent, listSentinelEvents } from './sentinel/sentinelEvents.ts'
import { createService, getService, listAllServices, listServices, updateService } from './services/services.ts'
import { ServiceTakenError } from './services/serviceTaken.ts'
import { createTestDatabase, type TestDatabase } from './testing/createTestDatabase.ts'
import { arrangeMerchant, randomAddress, randomHex, usdc } from './testing/fixtures.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

test('one payee belongs to one merchant, in whatever case it is written', async () => {
  const payee = randomAddress()
  const merchant = await createMerchant(database.db, { name: 'First', payee })
  expect(merchant).toMatchObject({ payee, gasBudgetWeiPerDay: 10n ** 17n, createdAt: expect.any(Date) })
  expect(await getMerchantByPayee(database.db, payee)).toEqual(merchant)
  const shouted = payee.toLowerCase() as typeof payee
  await expect(createMerchant(database.db, { name: 'Second', payee: shouted })).rejects.toBeInstanceOf(PayeeTakenError)
})

test('pages of merchants hold each once, newest first', async () => {
  const created: string[] = []
  for (let index = 0; index < 5; index++) {
    created.push((await createMerchant(database.db, { name: `m${index}`, payee: randomAddress() })).id)
  }
  const first = await listMerchants(database.db, { limit: 3 })
  const second = await listMerchants(database.db, { limit: 2, cursor: first.nextCursor })
  expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(created.toReversed())
  expect(await setGasBudget(database.db, created[0] ?? '', 5n)).toBe(true)
  expect(await setGasBudget(database.db, 'mer_none', 5n)).toBe(false)
})

test('an API key authenticates until it is revoked, and is not stored', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const { id, key } = await issueApiKey(database.db, { merchantId: merchant.id, name: 'ci' })
  expect(key).toMatch(/^pb_[A-Za-z0-9_-]{43}$/)
  const known = { apiKeyId: id, merchantId: merchant.id, scopes: ['*'], expiresAt: null }
  expect(await authenticateApiKey(database.db, key)).toEqual(known)
  const [listed] = (await listApiKeys(database.db)).items
  expect(listed).toMatchObject({ id, prefix: key.slice(0, 11), lastUsedAt: expect.any(Date), revokedAt: null })
  expect(JSON.stringify(await database.query('select * from api_key'))).not.toContain(key)
  expect(await revokeApiKey(database.db, id)).toBe(true)
  expect(await revokeApiKey(database.db, id)).toBe(false)
  expect(await authenticateApiKey(database.db, key)).toBeUndefined()
})

test('what is no key of ours authenticates nobody', async () => {
  const { key } = await issueApiKey(database.db, { merchantId: null, name: 'operator' })
  expect(await authenticateApiKey(database.db, key)).toMatchObject({ merchantId: null })
  for (const wrong of ['', 'pb_', `${key}x`, `${key.slice(0, -1)}!`, `pb_${'A'.repeat(43)}`, key.toLowerCase()]) {
    expect(await authenticateApiKey(database.db, wrong)).toBeUndefined()
  }
})

test('a service comes back as it was made, and changes field by field', async () => {
  const { merchant, service } = await arrangeMerchant(database.db, {
    upstream: 'http://localhost:9000/v1',
    price: 2n ** 100n,
    maxAmountPerCall: 50_000n,
    maxCallsPerMinute: 60,
  })
  expect(service).toMatchObject({
    merchantId: merchant.id,
    upstream: 'http://localhost:9000/v1',
    price: 2n ** 100n,
    token: usdc,
    threshold: 10_000_000n,
    maxAgeSeconds: 86_400,
    upstreamTimeoutMs: 30_000,
    enabled: true,
  })
  const changed = await updateService(database.db, service.id, { price: 7n, upstream: null, maxCallsPerMinute: null })
  expect(changed).toMatchObject({
    price: 7n,
    upstream: undefined,
    maxCallsPerMinute: undefined,
    maxAmountPerCall: 50_000n,
  })
  expect(await getService(database.db, service.id)).toEqual(changed)
  expect((await listServices(database.db, { limit: 1 })).items).toEqual([changed])
})

test('the gateway is given enabled services, with where their merchants are paid', async () => {
  const { merchant, service } = await arrangeMerchant(database.db)
  expect(await listAllServices(database.db)).toContainEqual({
    ...service,
    payee: merchant.payee,
    credit: defaultCredit,
  })
  await updateService(database.db, service.id, { enabled: false })
  expect((await listAllServices(database.db)).map(({ id }) => id)).not.toContain(service.id)
})

test('a path is served once, and a merchant has a name once', async () => {
  const { merchant, service } = await arrangeMerchant(database.db)
  const other = await arrangeMerchant(database.db)
  const base = { merchantId: merchant.id, price: 1n, token: usdc }
  for (const taken of [
    { ...base, name: 'other', pathPrefix: service.pathPrefix },
    { ...base, name: service.name, pathPrefix: '/another' },
  ]) {
    await expect(createService(database.db, taken)).rejects.toBeInstanceOf(ServiceTakenError)
  }
  const change = updateService(database.db, other.service.id, { pathPrefix: service.pathPrefix })
  await expect(change).rejects.toBeInstanceOf(ServiceTakenError)
})

test('a path that would never match a request is refused', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  for (const pathPrefix of ['', '/', 'weather', '/weather/', '/a//b', '/a?b', '/a b']) {
    const service = { merchantId: merchant.id, name: 'x', pathPrefix, price: 1n, token: usdc }
    await expect(createService(database.db, service), pathPrefix).rejects.toMatchObject({ cause: { code: '23514' } })
  }
})

test('a cursor that we did not make is refused', async () => {
  await expect(listGrants(database.db, { cursor: 'nonsense' })).rejects.toBeInstanceOf(InvalidCursorError)
  await expect(listSentinelEvents(database.db, { cursor: '1 or 1' })).rejects.toBeInstanceOf(InvalidCursorError)
})

test("the sentinel's events are kept in order", async () => {
  const grantId = randomHex(32)
  const ids = []
  for (const kind of ['alert', 'freeze']) {
    ids.push(await appendSentinelEvent(database.db, { kind, grantId, rule: 'burst', detail: { amount: '12' } }))
  }
  const { items } = await listSentinelEvents(database.db, { grantId })
  expect(items.map(({ id }) => id)).toEqual(ids.toReversed())
  expect(items[0]).toMatchObject({ kind: 'freeze', rule: 'burst', account: null, detail: { amount: '12' } })
  const older = await listSentinelEvents(database.db, { grantId, cursor: String(ids[1]) })
  expect(older.items.map(({ id }) => id)).toEqual([ids[0]])
})
