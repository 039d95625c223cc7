import { apiKeyScopes, listAudit } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { routeScopes } from './routeScopes.ts'
import { createTestApi, operatorApiKey, type TestApi, type TestMerchant } from './testing/testApi.ts'

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

const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString()

async function issue(by: string, body: Record<string, unknown>): Promise<{ id: string; key: string }> {
  const answer = await api.post('/api-keys', by, { name: 'test', ...body })
  expect(answer).toMatchObject({ status: 201 })
  return answer.body
}

/** Routes that an API key opens: owners, who follows a link of an alert, and readers of the reference have none. */
function routesOfKeys(): string[] {
  const served = api.app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path}`)
  const own = served
    .map((route) => route.replace(' /api/', ' /'))
    .filter((route) => !/ \/(owners?|alert-links|openapi\.json|reference)\b/.test(route))
  return [...new Set(own)].sort()
}

describe('scopes', () => {
  test('every route asks for one, and none is left of a route that is gone', () => {
    expect(routesOfKeys()).toEqual(Object.keys(routeScopes).sort())
  })

  test('a key opens the routes of its scopes, and no others', async () => {
    for (const scopes of [['services:read'], ['charges:write'], ['webhooks:read', 'webhooks:write']] as const) {
      const { key } = await issue(weather.key, { scopes })
      for (const [route, scope] of Object.entries(routeScopes)) {
        const [method = '', path = ''] = route.split(' ')
        const response = await api.app.request(`/api${path.replaceAll(/:\w+/g, 'none')}`, {
          method,
          headers: { authorization: `Bearer ${key}` },
        })
        const isOpen = scope === 'any' || (scopes as readonly string[]).includes(scope)
        expect((await response.text()).includes('api_key.scope_missing'), route).toBe(!isOpen)
      }
    }
  })

  test('a refusal names what is needed and what the key has, and is audited under its code', async () => {
    const { id, key } = await issue(weather.key, { scopes: ['receipts:read'] })
    expect(await api.get('/services', key)).toMatchObject({
      status: 403,
      body: { code: 'api_key.scope_missing', detail: 'Needed: services:read. The key has: receipts:read.' },
    })
    const { items } = await listAudit(database.db, { limit: 200 })
    expect(items.find(({ actor }) => actor === id)).toMatchObject({
      outcome: 'refused',
      subject: 'GET /api/services',
      errorCode: 'api_key.scope_missing',
    })
  })

  test("what only the operator may do stays the operator's, whatever a merchant's key is allowed", async () => {
    const { key } = await issue(weather.key, { scopes: ['audit:read', 'traces:read'] })
    for (const path of ['/audit', '/traces/none']) {
      expect(await api.get(path, key)).toMatchObject({ status: 403, body: { code: 'operator.required' } })
    }
  })

  test('HEAD asks for the scope of GET', async () => {
    const { key } = await issue(weather.key, { scopes: ['receipts:read'] })
    const head = (path: string) =>
      api.app.request(`/api${path}`, { method: 'HEAD', headers: { authorization: `Bearer ${key}` } })
    expect((await head('/services')).status).toBe(403)
    expect((await head('/chain')).status).toBe(200)
  })

  test.each([
    ['an unknown one', ['services:destroy']],
    ['none', []],
    ['no list', 'services:read'],
  ])('a key with %s is not made', async (_, scopes) => {
    const answer = await api.post('/api-keys', weather.key, { name: 'test', scopes })
    expect(answer).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
  })
})

describe('a key makes and changes only what is not more than itself', () => {
  test('scopes', async () => {
    const { key } = await issue(weather.key, { scopes: ['keys:write', 'keys:read', 'services:read'] })
    const refused = { status: 403, body: { code: 'api_key.beyond_own' } }
    for (const scopes of [['*'], ['services:write'], ['services:read', 'services:write'], [...apiKeyScopes]]) {
      expect(await api.post('/api-keys', key, { name: 'more', scopes })).toMatchObject(refused)
    }
    const less = await issue(key, { scopes: ['services:read'] })
    expect(await api.get('/services', less.key)).toMatchObject({ status: 200 })
    // Left out: the same as the key that asks.
    const same = await issue(key, {})
    expect(await api.post('/services', same.key, {})).toMatchObject({ body: { code: 'api_key.scope_missing' } })
  })

  test('time', async () => {
    const expiresAt = inAnHour()
    const { key } = await issue(weather.key, { scopes: ['keys:write', 'services:read'], expiresAt })
    const late = new Date(Date.parse(expiresAt) + 1).toISOString()
    const refused = { status: 403, body: { code: 'api_key.beyond_own' } }
    expect(await api.post('/api-keys', key, { name: 'longer', expiresAt: late })).toMatchObject(refused)
    expect(await api.post('/api-keys', key, { name: 'for ever', expiresAt: null })).toMatchObject(refused)
    expect(await api.post('/api-keys', key, { name: 'as long' })).toMatchObject({ status: 201, body: { expiresAt } })
  })

  test('no key of more is rotated or revoked by it', async () => {
    const { key } = await issue(weather.key, { scopes: ['keys:write'] })
    const refused = { status: 403, body: { code: 'api_key.beyond_own' } }
    expect(await api.post(`/api-keys/${weather.keyId}/rotate`, key)).toMatchObject(refused)
    expect(await api.delete(`/api-keys/${weather.keyId}`, key)).toMatchObject(refused)
    expect(await api.get('/services', weather.key)).toMatchObject({ status: 200 })
  })

  test("and none of another merchant's or the operator's", async () => {
    const operators = await issue(operatorApiKey, {})
    const unknown = { status: 404, body: { code: 'api_key.unknown' } }
    for (const id of [maps.keyId, operators.id, `key_${'0'.repeat(32)}`, 'none']) {
      expect(await api.post(`/api-keys/${id}/rotate`, weather.key)).toMatchObject(unknown)
      expect(await api.delete(`/api-keys/${id}`, weather.key)).toMatchObject(unknown)
    }
    const { body } = await api.get('/api-keys?limit=100', weather.key)
    expect(new Set(body.apiKeys.map(({ merchantId }: { merchantId: string }) => merchantId))).toEqual(
      new Set([weather.id]),
    )
    const stolen = await api.post('/api-keys', weather.key, { name: 'theirs', merchantId: maps.id })
    expect(stolen).toMatchObject({ status: 404, body: { code: 'merchant.unknown' } })
  })
})

describe('rotation', () => {
  test('gives a new secret with the same rights, and both are good for the overlap', async () => {
    const { id, key } = await issue(weather.key, { scopes: ['services:read'] })
    const rotated = await api.post(`/api-keys/${id}/rotate`, weather.key, { overlapSeconds: 600 })
    expect(rotated).toMatchObject({
      status: 200,
      body: { id, scopes: ['services:read'], previousPrefix: key.slice(0, 11), key: expect.stringMatching(/^pb_/) },
    })
    expect(rotated.headers.get('cache-control')).toBe('no-store')
    for (const secret of [key, rotated.body.key]) {
      expect(await api.get('/services', secret)).toMatchObject({ status: 200 })
      expect(await api.get('/rules', secret)).toMatchObject({ status: 403 })
    }
    const { body } = await api.get('/api-keys', weather.key)
    const listed = body.apiKeys.find((one: { id: string }) => one.id === id)
    expect(listed).toMatchObject({ prefix: rotated.body.prefix, lastUsedAt: expect.any(String) })
    expect(JSON.stringify(body)).not.toContain(rotated.body.key)
  })

  test('without an overlap the old secret is good for nothing from the answer on', async () => {
    const { id, key } = await issue(weather.key, {})
    const rotated = await api.post(`/api-keys/${id}/rotate`, weather.key, { overlapSeconds: 0 })
    expect(await api.get('/services', key)).toMatchObject({ status: 401, body: { code: 'api_key.invalid' } })
    expect(await api.get('/services', rotated.body.key)).toMatchObject({ status: 200 })
  })

  test('a key rotates itself', async () => {
    const { id, key } = await issue(weather.key, { scopes: ['keys:write'] })
    const rotated = await api.post(`/api-keys/${id}/rotate`, key)
    expect(rotated).toMatchObject({ status: 200 })
    expect(await api.delete(`/api-keys/${id}`, rotated.body.key)).toMatchObject({ status: 204 })
  })

  test.each([{ overlapSeconds: 86_401 }, { overlapSeconds: -1 }, { overlapSeconds: 1.5 }, { overlap: 1 }])(
    'refuses %j',
    async (body) => {
      const answer = await api.post(`/api-keys/${weather.keyId}/rotate`, weather.key, body)
      expect(answer).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
    },
  )
})

test('a key that ended opens nothing, and none is made that has ended', async () => {
  const { id, key } = await issue(weather.key, { expiresAt: inAnHour() })
  expect(await api.get('/services', key)).toMatchObject({ status: 200 })
  await database.query(`update api_key set expires_at = now() - interval '1 second' where id = '${id}'`)
  expect(await api.get('/services', key)).toMatchObject({ status: 401 })
  const past = await api.post('/api-keys', weather.key, { name: 'past', expiresAt: '2020-01-01T00:00:00Z' })
  expect(past).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
})

test('what becomes of a key is audited in the name of who did it, without a secret', async () => {
  const { id, key } = await issue(weather.key, { scopes: ['services:read'] })
  const { body } = await api.post(`/api-keys/${id}/rotate`, weather.key)
  await api.delete(`/api-keys/${id}`, weather.key)
  const { items } = await listAudit(database.db, { subject: id })
  expect(items.map(({ action, actor }) => ({ action, actor }))).toEqual(
    ['api_key_change', 'api_key_change', 'api_key_create'].map((action) => ({ action, actor: weather.keyId })),
  )
  expect(items.at(-1)?.after).toMatchObject({ scopes: ['services:read'], prefix: key.slice(0, 11) })
  const hashes = await database.query(`select hash, previous_hash from api_key where id = '${id}'`)
  const audited = JSON.stringify(items)
  for (const secret of [key, body.key, ...Object.values(hashes[0] ?? {})]) expect(audited).not.toContain(secret)
})
