import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestApi, type TestApi, type TestMerchant } from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let weather: TestMerchant
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  weather = await api.createMerchant('weather')
})
afterAll(() => database.drop())

const perToken = {
  kind: 'token',
  input: { price: '0.15', per: 1_000_000 },
  output: { price: '0.6', per: 1_000_000 },
}

test('a service is priced as it was asked for, and shown so, until that is changed', async () => {
  const routes = [
    { method: 'GET', path: '/models', price: '0', pricing: { kind: 'call' } },
    {
      path: '/images/:size',
      query: { quality: 'high' },
      price: '0.5',
      pricing: { kind: 'unit', unit: 'image', rate: { price: '0.04', per: 1 } },
      exactPrice: '0.5',
    },
  ]
  const created = await api.post('/services', weather.key, {
    name: 'chat',
    pathPrefix: '/chat',
    price: '0.02',
    pricing: perToken,
    routes,
    voucherGraceMs: 5_000,
  })
  expect(created).toMatchObject({ status: 201, body: { pricing: perToken, voucherGraceMs: 5_000 } })
  expect(created.body.routes).toEqual(routes)
  const path = `/services/${created.body.id}`
  expect((await api.get(path, weather.key)).body.routes).toEqual(routes)
  expect((await api.get('/services', weather.key)).body.services[0]).toMatchObject({ pricing: perToken, price: '0.02' })
  expect(await api.patch(path, weather.key, { price: '0.03' })).toMatchObject({ body: { pricing: perToken } })
  const fixed = await api.patch(path, weather.key, { pricing: { kind: 'call' }, routes: [] })
  expect(fixed).toMatchObject({ status: 200, body: { pricing: { kind: 'call' }, routes: [], price: '0.03' } })
})

test.each([
  [{ pricing: { kind: 'token', input: { price: '0.15', per: 1 } } }],
  [{ pricing: { kind: 'byte', rate: { price: '0.0000001', per: 1 } } }],
  [{ pricing: 'call' }],
  [{ routes: [{ path: 'models', price: '1' }] }],
  [{ routes: [{ path: '/a/*/b', price: '1' }] }],
  [{ routes: [{ path: '/a', price: '1', method: 'get' }] }],
  [{ routes: Array.from({ length: 101 }, () => ({ path: '/a', price: '1' })) }],
  [{ voucherGraceMs: 120_001 }],
])('a service priced by %j is refused', async (change) => {
  const service = { name: 'refused', pathPrefix: '/refused', price: '0.02', ...change }
  expect(await api.post('/services', weather.key, service)).toMatchObject({
    status: 400,
    body: { code: 'request.invalid' },
  })
})
