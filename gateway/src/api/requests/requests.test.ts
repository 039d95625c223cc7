import { randomUUID } from 'node:crypto'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { createTestApi, operatorApiKey, randomAddress, type TestApi, type TestMerchant } from '../testing/testApi.ts'

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

type Sent = { key: string; headers?: Record<string, string>; body?: unknown }

async function send(method: string, path: string, { key, headers, body }: Sent, of: TestApi = api) {
  const response = await of.app.request(`/api${path}`, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
}

const named = (idempotencyKey: string) => ({ 'idempotency-key': idempotencyKey })

describe('the name of a request', () => {
  test('is in every answer, and the name that the caller gave it where that is one', async () => {
    const given = await send('GET', '/services', { key: weather.key, headers: { 'x-request-id': 'order-4711' } })
    expect(given.headers.get('x-request-id')).toBe('order-4711')
    for (const asked of ['short', 'x'.repeat(129), 'with space here', '<script>alert(1)']) {
      const { headers } = await send('GET', '/services', { key: weather.key, headers: { 'x-request-id': asked } })
      expect(headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
    }
    const refused = await send('GET', '/services', { key: 'none' })
    expect(refused.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
  })

  test('is the instance of a problem, and in the audit of what was changed', async () => {
    const headers = { 'x-request-id': `order-${randomUUID()}` }
    const unknown = await send('GET', '/nothing', { key: operatorApiKey, headers })
    expect(unknown.body).toMatchObject({ instance: `urn:protocolbanks:request:${headers['x-request-id']}` })
    const made = await send('POST', '/merchants', {
      key: operatorApiKey,
      headers,
      body: { name: 'Named', payee: randomAddress() },
    })
    expect(made.status).toBe(201)
    const audit = await send('GET', `/audit?requestId=${headers['x-request-id']}`, { key: operatorApiKey })
    expect(audit.body.entries).toMatchObject([
      { actor: 'operator', action: 'merchant_create', subject: made.body.id, requestId: headers['x-request-id'] },
    ])
  })
})

describe('a request with an Idempotency-Key', () => {
  const endpoint = { url: 'https://hooks.example.com/stream' }

  test('is run once, and answered alike when it is repeated, secret and all', async () => {
    const key = randomUUID()
    const sent = { key: weather.key, headers: named(key), body: endpoint }
    const first = await send('POST', '/webhooks', sent)
    expect(first.status).toBe(201)
    expect(first.headers.get('idempotency-replayed')).toBeNull()
    const again = await send('POST', '/webhooks', { ...sent, headers: named(`"${key}"`) })
    expect(again).toMatchObject({ status: 201, body: first.body })
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(again.headers.get('location')).toBe(first.headers.get('location'))
    const { body } = await send('GET', '/webhooks', { key: weather.key })
    expect(body.webhooks).toHaveLength(1)
    // The database alone gives no secret away.
    const kept = JSON.stringify(await database.query('select * from idempotency_key'))
    expect(kept).not.toContain(first.body.secret)
  })

  test('is another one with another body, path or method: 422', async () => {
    const headers = named(randomUUID())
    await send('POST', '/webhooks', { key: maps.key, headers, body: endpoint })
    for (const [method, path, body] of [
      ['POST', '/webhooks', { url: 'https://hooks.example.com/other' }],
      ['POST', '/webhooks?a=1', endpoint],
      ['POST', '/settlements', endpoint],
      ['PATCH', '/webhooks/another', endpoint],
    ] as const) {
      const answer = await send(method, path, { key: maps.key, headers, body })
      expect(answer).toMatchObject({ status: 422, body: { code: 'idempotency.key_reused' } })
    }
  })

  test('of one caller is not one of another', async () => {
    const headers = named('shared-key-of-two')
    const [one, two] = await Promise.all(
      [weather, maps].map(({ key }) => send('POST', '/api-keys', { key, headers, body: { name: 'ci' } })),
    )
    expect(one).toMatchObject({ status: 201, body: { merchantId: weather.id } })
    expect(two).toMatchObject({ status: 201, body: { merchantId: maps.id } })
  })

  test('is run once of many at once: the others are given its answer, or told to wait', async () => {
    const headers = named(randomUUID())
    const body = { name: 'Many', payee: randomAddress() }
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => send('POST', '/merchants', { key: operatorApiKey, headers, body })),
    )
    const made = answers.filter(({ status }) => status === 201)
    expect(new Set(made.map((answer) => answer.body.id)).size).toBe(1)
    for (const answer of answers) {
      if (answer.status === 201) continue
      expect(answer).toMatchObject({ status: 409, body: { code: 'idempotency.in_progress' } })
      expect(answer.headers.get('retry-after')).toBe('1')
    }
  })

  test('that was refused is free to be corrected', async () => {
    const headers = named(randomUUID())
    const refused = await send('POST', '/merchants', { key: operatorApiKey, headers, body: { name: 'No payee' } })
    expect(refused.status).toBe(400)
    const body = { name: 'Payee', payee: randomAddress() }
    expect(await send('POST', '/merchants', { key: operatorApiKey, headers, body })).toMatchObject({ status: 201 })
  })

  test('that deleted something is answered as it was', async () => {
    const { body } = await send('POST', '/webhooks', { key: maps.key, body: endpoint })
    const sent = { key: maps.key, headers: named(randomUUID()) }
    expect(await send('DELETE', `/webhooks/${body.id}`, sent)).toMatchObject({ status: 204, body: undefined })
    expect(await send('DELETE', `/webhooks/${body.id}`, sent)).toMatchObject({ status: 204, body: undefined })
    expect(await send('DELETE', `/webhooks/${body.id}`, { key: maps.key })).toMatchObject({ status: 404 })
  })

  test.each(['', '"a', 'a b', 'x'.repeat(256), '"é"'])('has a key that is one: not %j', async (header) => {
    const answer = await send('POST', '/api-keys', {
      key: maps.key,
      headers: named(encodeURI(header) === header ? header : '"\\u00e9"'),
      body: { name: 'none' },
    })
    expect(answer).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
  })
})

describe('requests of one key', () => {
  test('are limited by the minute, each key for itself, and say what is left', async () => {
    let now = Date.now()
    const limited = createTestApi(database.db, { requestsPerMinute: 3, clock: () => now })
    const ask = (key: string) => send('GET', '/services', { key }, limited)
    const first = await ask(weather.key)
    expect(first.headers.get('ratelimit-policy')).toBe('"requests";q=3;w=60')
    expect(first.headers.get('ratelimit')).toBe('"requests";r=2;t=20')
    for (let n = 0; n < 2; n++) expect((await ask(weather.key)).status).toBe(200)
    const refused = await ask(weather.key)
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate.limited' } })
    expect(refused.headers.get('retry-after')).toBe('20')
    expect(refused.headers.get('ratelimit')).toBe('"requests";r=0;t=60')
    expect((await ask(maps.key)).status).toBe(200)
    expect((await ask(operatorApiKey)).headers.get('ratelimit-policy')).toBe('"requests";q=30;w=60')
    now += 20_000
    expect((await ask(weather.key)).status).toBe(200)
  })
})
