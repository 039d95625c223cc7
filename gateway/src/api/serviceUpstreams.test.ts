import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestApi, operatorApiKey, type TestApi, type TestMerchant } from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let weather: TestMerchant
let services = 0

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  weather = await api.createMerchant('Weather Inc')
})
afterAll(() => database.drop())

function create(key: string, upstream: string | null) {
  services++
  const service = { name: `service-${services}`, pathPrefix: `/service-${services}`, price: '0.01', upstream }
  return api.post('/services', key, { ...service, ...(key === operatorApiKey && { merchantId: weather.id }) })
}

const inside = 'http://10.1.2.3:8080'

test.each([
  inside,
  'http://127.0.0.1',
  'http://2130706433',
  'http://[::ffff:169.254.169.254]',
  'http://localhost:9000',
])('a merchant cannot make a service that reaches %s, or let one reach it', async (upstream) => {
  const refused = {
    status: 422,
    body: { code: 'service.upstream_refused', detail: expect.stringMatching(/^Its host/) },
  }
  expect(await create(weather.key, upstream)).toMatchObject(refused)
  const { body: service } = await create(weather.key, 'https://api.example.com/v1')
  expect(service).toMatchObject({ upstream: 'https://api.example.com/v1', upstreamTrusted: false })
  expect(await api.patch(`/services/${service.id}`, weather.key, { upstream })).toMatchObject(refused)
  const { body } = await api.get(`/services/${service.id}`, weather.key)
  expect(body).toEqual(service)
})

test('the operator may name any upstream, and it is trusted until a merchant names another', async () => {
  const { status, body: service } = await create(operatorApiKey, inside)
  expect({ status, body: service }).toMatchObject({ status: 201, body: { upstream: inside, upstreamTrusted: true } })
  const path = `/services/${service.id}`
  // The merchant may send the same again with what it changes.
  const cheaper = await api.patch(path, weather.key, { upstream: inside, price: '0.005' })
  expect(cheaper).toMatchObject({ status: 200, body: { price: '0.005', upstreamTrusted: true } })
  const moved = await api.patch(path, weather.key, { upstream: 'https://api.example.com' })
  expect(moved).toMatchObject({ status: 200, body: { upstreamTrusted: false } })
  expect(await api.patch(path, weather.key, { upstream: inside })).toMatchObject({ status: 422 })
  expect(await api.patch(path, operatorApiKey, { upstream: inside })).toMatchObject({ body: { upstreamTrusted: true } })
  expect(await api.patch(path, weather.key, { upstream: null })).toMatchObject({ body: { upstreamTrusted: false } })
})

test('what the operator sets again is trusted, also when it stays the same', async () => {
  const { body: service } = await create(weather.key, 'https://api.example.com')
  const again = await api.patch(`/services/${service.id}`, operatorApiKey, { upstream: 'https://api.example.com' })
  expect(again.body.upstreamTrusted).toBe(true)
})

test('a service that a file manages is changed by nobody through the API', async () => {
  const { body: service } = await create(operatorApiKey, 'https://api.example.com')
  await database.query(`UPDATE service SET managed_by = 'file' WHERE id = $1`, [service.id])
  const refused = { status: 409, body: { code: 'service.managed' } }
  for (const key of [weather.key, operatorApiKey]) {
    expect(await api.patch(`/services/${service.id}`, key, { price: '0.02' })).toMatchObject(refused)
    expect(await api.delete(`/services/${service.id}`, key)).toMatchObject(refused)
  }
  expect((await api.get(`/services/${service.id}`, weather.key)).body).toMatchObject({
    price: '0.01',
    managedBy: 'file',
  })
})
