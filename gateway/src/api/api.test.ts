import { createDb } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { reserveOf } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import {
  chain,
  createTestApi,
  operatorApiKey,
  randomAddress,
  type TestApi,
  type TestMerchant,
} from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let weather: TestMerchant
let maps: TestMerchant

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  ;[weather, maps] = await Promise.all([api.createMerchant('Weather Inc'), api.createMerchant('Maps Inc')])
})
afterAll(() => database.drop())

const nobody = `mer_${'0'.repeat(32)}`

describe('every route', () => {
  test.each([
    ['no key', undefined],
    ['a key that was never issued', `Bearer pb_${'x'.repeat(43)}`],
    ['a scheme other than bearer', `Basic ${operatorApiKey}`],
    ['a prefix of the operator key', `Bearer ${operatorApiKey.slice(0, -1)}`],
  ])('answers 401 to %s', async (_, authorization) => {
    const response = await api.app.request('/api/services', { headers: authorization ? { authorization } : {} })
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toBe('Bearer')
    expect(await response.json()).toMatchObject({ code: 'api_key.invalid', status: 401 })
  })

  test('answers 404 to a path that is none', async () => {
    expect(await api.get('/nothing', operatorApiKey)).toMatchObject({ status: 404, body: { code: 'route.unknown' } })
  })

  test('answers problem+json with a page that explains the code', async () => {
    const { headers, body } = await api.get(`/merchants/${nobody}`, operatorApiKey)
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(body).toMatchObject({ type: 'https://docs.protocolbanks.com/errors#merchant-unknown', status: 404 })
  })

  test.each([
    [413, 'request.too_large', JSON.stringify({ name: 'x'.repeat(65_536) }), 'application/json'],
    [415, 'request.unsupported_type', '{}', 'text/plain'],
    [400, 'request.malformed', '{', 'application/json'],
    [400, 'request.malformed', new Uint8Array([0xff, 0xfe, 0x22]), 'application/json'],
    [400, 'request.invalid', '[]', 'application/json'],
    [400, 'request.invalid', '{"name":"a","payee":"0x12"}', 'application/json'],
    [
      400,
      'request.invalid',
      '{"name":"\\u0000","payee":"0x70997970c51812dc3a010c7d01b50e0d17dc79c8"}',
      'application/json',
    ],
    [400, 'request.invalid', '', 'application/json'],
  ])('answers %i %s to a body that is not what it should be', async (status, code, body, type) => {
    const response = await api.app.request('/api/merchants', {
      method: 'POST',
      body,
      headers: { authorization: `Bearer ${operatorApiKey}`, 'content-type': type },
    })
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ status, code })
  })

  test('answers 413 to a body that does not say how long it is', async () => {
    const body = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(new Uint8Array(16_384)) })
    const response = await api.app.request('/api/merchants', {
      method: 'POST',
      body,
      headers: { authorization: `Bearer ${operatorApiKey}`, 'content-type': 'application/json' },
      ...{ duplex: 'half' },
    })
    expect(response.status).toBe(413)
  })

  test.each([
    ['/services?limit=0'],
    ['/services?limit=101'],
    ['/services?limit=ten'],
    ['/services?cursor=%00'],
    ['/services?color=red'],
    ['/session-keys?cursor=bm9uc2Vuc2U'],
    [`/session-keys?cursor=${Buffer.from('99 \u0000').toString('base64url')}`],
    ['/session-keys?account=0x12'],
    ['/session-keys/0x12'],
    ['/settlements?state=paid'],
  ])('answers 400 to %s', async (path) => {
    expect(await api.get(path, operatorApiKey)).toMatchObject({ status: 400 })
  })

  test('answers 503 while Postgres does not', async () => {
    // Nothing listens on port 1.
    const db = createDb({ url: 'postgres://nobody@127.0.0.1:1/nothing', onError: () => {} })
    const response = await createTestApi(db).get('/services', operatorApiKey)
    expect(response).toMatchObject({ status: 503, body: { code: 'database.unavailable' } })
    await db.close()
  })
})

test('GET /chain says what is mirrored', async () => {
  expect(await api.get('/chain', weather.key)).toMatchObject({
    status: 200,
    body: {
      chainId: chain.chainId,
      module: chain.module,
      reserve: reserveOf(chain.module),
      block: '7',
      checkedAt: new Date(5).toISOString(),
    },
  })
})

describe('/merchants', () => {
  test('POST makes one: 201', async () => {
    const payee = randomAddress()
    const { status, body, headers } = await api.post('/merchants', operatorApiKey, { name: ' Shop ', payee })
    expect({ status, body }).toMatchObject({
      status: 201,
      body: { name: 'Shop', payee, gasBudgetWeiPerDay: expect.stringMatching(/^\d+$/) },
    })
    expect(await api.get(String(headers.get('location')).slice(4), operatorApiKey)).toMatchObject({ status: 200 })
  })

  test('POST refuses a payee that is taken: 409', async () => {
    const response = await api.post('/merchants', operatorApiKey, { name: 'Copy', payee: weather.payee })
    expect(response).toMatchObject({ status: 409, body: { code: 'merchant.payee_taken' } })
  })

  test('POST and the list are not for merchants: 403', async () => {
    const forbidden = { status: 403, body: { code: 'operator.required' } }
    expect(await api.post('/merchants', weather.key, { name: 'a', payee: randomAddress() })).toMatchObject(forbidden)
    expect(await api.get('/merchants', weather.key)).toMatchObject(forbidden)
  })

  test('GET lists them in pages: 200', async () => {
    const first = await api.get('/merchants?limit=1', operatorApiKey)
    const second = await api.get(`/merchants?limit=1&cursor=${first.body.nextCursor}`, operatorApiKey)
    expect([first.body.merchants.length, second.body.merchants.length]).toEqual([1, 1])
    expect(first.body.merchants[0].id).not.toBe(second.body.merchants[0].id)
  })

  test('GET /:id shows a merchant itself and nobody else: 200, 404', async () => {
    expect(await api.get(`/merchants/${weather.id}`, weather.key)).toMatchObject({
      status: 200,
      body: { id: weather.id },
    })
    expect(await api.get(`/merchants/${maps.id}`, weather.key)).toMatchObject({ status: 404 })
  })
})

describe('/api-keys', () => {
  test('POST shows the key once: 201', async () => {
    const { status, body } = await api.post('/api-keys', weather.key, { name: 'second' })
    expect({ status, body }).toMatchObject({ status: 201, body: { merchantId: weather.id, name: 'second' } })
    expect((await api.get('/services', body.key)).status).toBe(200)
    const list = await api.get('/api-keys', weather.key)
    expect(JSON.stringify(list.body)).not.toContain(body.key)
    expect(list.body.apiKeys.map(({ id }: { id: string }) => id)).toContain(body.id)
  })

  test('POST without a merchant makes a key of the operator', async () => {
    const { body } = await api.post('/api-keys', operatorApiKey, { name: 'ops' })
    expect(body.merchantId).toBeNull()
    expect((await api.get('/merchants', body.key)).status).toBe(200)
  })

  test('POST for another merchant, or one that is not there: 404', async () => {
    const unknown = { status: 404, body: { code: 'merchant.unknown' } }
    expect(await api.post('/api-keys', weather.key, { name: 'a', merchantId: maps.id })).toMatchObject(unknown)
    expect(await api.post('/api-keys', operatorApiKey, { name: 'a', merchantId: nobody })).toMatchObject(unknown)
  })

  test('DELETE ends a key at once: 204, then 401 and 404', async () => {
    const { body } = await api.post('/api-keys', weather.key, { name: 'lost' })
    expect((await api.delete(`/api-keys/${body.id}`, weather.key)).status).toBe(204)
    expect((await api.get('/services', body.key)).status).toBe(401)
    expect(await api.delete(`/api-keys/${body.id}`, weather.key)).toMatchObject({ status: 404 })
  })

  test("a merchant cannot see or end another's: 404", async () => {
    const list = await api.get('/api-keys?limit=100', weather.key)
    expect(list.body.apiKeys.every(({ merchantId }: { merchantId: string }) => merchantId === weather.id)).toBe(true)
    expect(await api.delete(`/api-keys/${maps.keyId}`, weather.key)).toMatchObject({ status: 404 })
    expect((await api.get('/services', maps.key)).status).toBe(200)
  })
})

describe('/services', () => {
  const service = { upstream: 'https://api.example.com/', price: '0.01' }
  let count = 0
  const named = () => ({ ...service, name: `service-${count}`, pathPrefix: `/service-${count++}` })

  test('POST makes one, prices exact in both forms: 201', async () => {
    const before = api.invalidations()
    const { status, body } = await api.post('/services', weather.key, {
      ...named(),
      price: '0.000001',
      maxAmountPerCall: '1.5',
      maxCallsPerMinute: 60,
    })
    expect({ status, body }).toMatchObject({
      status: 201,
      body: {
        merchantId: weather.id,
        token: chain.token,
        price: '0.000001',
        priceAtomic: '1',
        threshold: '10',
        thresholdAtomic: '10000000',
        maxAmountPerCall: '1.5',
        maxAmountPerCallAtomic: '1500000',
        enabled: true,
      },
    })
    expect(api.invalidations()).toBe(before + 1)
    expect(await api.get(`/services/${body.id}`, weather.key)).toMatchObject({ status: 200, body })
  })

  test.each([
    [{ price: '0.0000001' }],
    [{ price: '-1' }],
    [{ price: '1e3' }],
    [{ price: 1 }],
    [{ price: '9007199254.740992' }],
    [{ pathPrefix: '/a/' }],
    [{ pathPrefix: '/a/../b' }],
    [{ pathPrefix: '/api/mine' }],
    [{ pathPrefix: '/metrics' }],
    [{ pathPrefix: '/.svc_01' }],
    [{ upstream: 'file:///etc/passwd' }],
    [{ upstream: 'http://user:password@example.com' }],
    [{ maxCallsPerMinute: 0 }],
    [{ upstreamTimeoutMs: 1.5 }],
    [{ color: 'red' }],
  ])('POST refuses %j: 400', async (change) => {
    const response = await api.post('/services', weather.key, { ...named(), ...change })
    expect(response).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
    expect(response.body.detail).toContain(Object.keys(change)[0])
  })

  test('POST refuses a path that is taken: 409', async () => {
    const taken = named()
    await api.post('/services', weather.key, taken)
    const response = await api.post('/services', maps.key, taken)
    expect(response).toMatchObject({ status: 409, body: { code: 'service.taken' } })
  })

  test('POST by the operator says for whom: 201, 400, 404', async () => {
    expect(await api.post('/services', operatorApiKey, { ...named(), merchantId: maps.id })).toMatchObject({
      status: 201,
    })
    expect(await api.post('/services', operatorApiKey, named())).toMatchObject({ status: 400 })
    const unknown = await api.post('/services', operatorApiKey, { ...named(), merchantId: nobody })
    expect(unknown).toMatchObject({ status: 404, body: { code: 'merchant.unknown' } })
  })

  test('PATCH changes what it names and nothing else: 200, 400', async () => {
    const { body } = await api.post('/services', weather.key, { ...named(), maxCallsPerMinute: 5 })
    const changed = await api.patch(`/services/${body.id}`, weather.key, { price: '0.02', maxCallsPerMinute: null })
    expect(changed).toMatchObject({ status: 200 })
    const { updatedAt: _, ...rest } = body
    expect(changed.body).toMatchObject({ ...rest, price: '0.02', priceAtomic: '20000', maxCallsPerMinute: null })
    expect(await api.patch(`/services/${body.id}`, weather.key, {})).toMatchObject({ status: 400 })
  })

  test('DELETE disables it: 204', async () => {
    const { body } = await api.post('/services', weather.key, named())
    expect((await api.delete(`/services/${body.id}`, weather.key)).status).toBe(204)
    expect(await api.get(`/services/${body.id}`, weather.key)).toMatchObject({ status: 200, body: { enabled: false } })
  })

  test("a merchant cannot see, change or end another's: 404", async () => {
    const { body } = await api.post('/services', maps.key, named())
    const unknown = { status: 404, body: { code: 'service.unknown' } }
    expect(await api.get(`/services/${body.id}`, weather.key)).toMatchObject(unknown)
    expect(await api.patch(`/services/${body.id}`, weather.key, { price: '0' })).toMatchObject(unknown)
    expect(await api.delete(`/services/${body.id}`, weather.key)).toMatchObject(unknown)
    const list = await api.get('/services?limit=100', weather.key)
    expect(list.body.services.every(({ merchantId }: { merchantId: string }) => merchantId === weather.id)).toBe(true)
    expect(await api.get(`/services/${body.id}`, maps.key)).toMatchObject({ status: 200, body: { enabled: true } })
  })

  test.each([['svc_unknown'], ['%00'], ["svc_' or 1=1"]])('GET of the id %s: 404', async (id) => {
    expect(await api.get(`/services/${id}`, weather.key)).toMatchObject({ status: 404 })
  })
})
