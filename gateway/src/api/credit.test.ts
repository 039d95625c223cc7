import { listAudit } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { accountStateOf, createPayer, fundsOf, grantStateOf, useOf } from '../meter/testing/builders.ts'
import { chain, createTestApi, operatorApiKey, type TestApi, type TestMerchant } from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let weather: TestMerchant
let maps: TestMerchant
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  weather = await api.createMerchant('weather')
  maps = await api.createMerchant('maps')
})
afterAll(() => database.drop())

const pathOf = ({ id }: { id: string }) => `/merchants/${id}/credit`
const refusals = async (subject: string) =>
  (await listAudit(database.db, { subject })).items.filter(({ outcome }) => outcome === 'refused')

test('a merchant who has chosen nothing serves on credit without limits of their own', async () => {
  expect(await api.get(pathOf(maps), maps.key)).toMatchObject({
    status: 200,
    body: { merchantId: maps.id, mode: 'credit', version: 0, maxTotal: null, maxTotalAtomic: null, owedAtomic: '0' },
  })
})

test('a merchant chooses limits, then reserves only; the operator sees and changes it too; each is audited', async () => {
  const before = api.invalidations()
  const limits = { maxTotal: '100', maxPerAccount: '2.5', maxPerGrant: null }
  const first = await api.put(pathOf(weather), weather.key, { mode: 'credit', ...limits })
  expect(first).toMatchObject({
    status: 200,
    body: {
      mode: 'credit',
      maxTotal: '100',
      maxTotalAtomic: '100000000',
      maxPerAccountAtomic: '2500000',
      maxPerGrantAtomic: null,
    },
  })
  expect(api.invalidations()).toBe(before + 1)
  expect((await api.get(pathOf(weather), operatorApiKey)).body).toEqual(first.body)
  const second = await api.put(pathOf(weather), operatorApiKey, { mode: 'reserve_only' })
  expect(second.body).toMatchObject({ mode: 'reserve_only', maxTotal: null, maxPerAccount: null })
  expect(second.body.version).toBeGreaterThan(first.body.version)
  const audit = (await listAudit(database.db, { subject: weather.id })).items
  expect(audit.map(({ action, actor }) => [action, actor])).toEqual([
    ['credit_change', 'operator'],
    ['credit_change', weather.keyId],
    ['merchant_create', 'operator'],
  ])
})

test('it shows what is owed on credit now', async () => {
  const payer = { ...createPayer(), payee: maps.payee }
  const grants = [grantStateOf(payer)]
  await api.meter.mirror({ ...accountStateOf(payer, { funds: fundsOf(100n), grants }), token: chain.token })
  await api.meter.charge(useOf(payer, { amount: 30n }))
  expect((await api.get(pathOf(maps), maps.key)).body).toMatchObject({ owed: '0.00003', owedAtomic: '30' })
})

test('a merchant neither sees nor changes another’s: 404, audited, nothing changed', async () => {
  const before = (await api.get(pathOf(maps), maps.key)).body
  expect(await api.get(pathOf(maps), weather.key)).toMatchObject({ status: 404, body: { code: 'merchant.unknown' } })
  expect(await api.put(pathOf(maps), weather.key, { mode: 'reserve_only' })).toMatchObject({
    status: 404,
    body: { code: 'merchant.unknown' },
  })
  expect(await refusals(maps.id)).toMatchObject([{ actor: weather.keyId, errorCode: 'merchant.unknown' }])
  expect((await api.get(pathOf(maps), maps.key)).body).toEqual(before)
  expect(await api.put('/merchants/mer_none/credit', operatorApiKey, { mode: 'credit' })).toMatchObject({ status: 404 })
})

test('what makes no sense is refused: 400, nothing changed', async () => {
  const before = (await api.get(pathOf(maps), maps.key)).body
  for (const body of [
    {},
    { mode: 'trust' },
    { mode: 'reserve_only', maxTotal: '1' },
    { mode: 'credit', maxTotal: '-1' },
    { mode: 'credit', maxTotal: 1 },
    { mode: 'credit', maxTotal: '0.0000001' },
    { mode: 'credit', maxPerGrant: '99999999999' },
    { mode: 'credit', maxEver: '1' },
  ]) {
    expect(await api.put(pathOf(maps), maps.key, body)).toMatchObject({
      status: 400,
      body: { code: 'request.invalid' },
    })
  }
  expect((await api.get(pathOf(maps), maps.key)).body).toEqual(before)
})
