import {
  claimOutbox,
  createDb,
  leaseWebhookDeliveries,
  listAudit,
  maxWebhookEndpoints,
  recordWebhookAttempt,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type Context, Hono } from 'hono'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { webhookEventTypes } from '../webhooks/webhookEvents.ts'
import { type ApiEnv, asCaller, authenticate } from './caller.ts'
import { createTestApi, operatorApiKey, type TestApi, type TestMerchant } from './testing/testApi.ts'
import type { WebhookCaller } from './webhookCaller.ts'
import { createWebhookRoutes } from './webhookRoutes.ts'

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

const url = 'https://hooks.example.com/stream'
const nobody = `whep_${'0'.repeat(32)}`

async function create(merchant: TestMerchant, more: Record<string, unknown> = {}) {
  const { status, body } = await api.post('/webhooks', merchant.key, { url, ...more })
  expect(status).toBe(201)
  return body as { id: string; secret: string }
}

/** Tries what is due at the endpoint, with this outcome. */
async function tryAll(endpointId: string, statusCode: number): Promise<void> {
  const now = new Date()
  const lease = { owner: 'test', now, leaseMs: 60_000, limit: 100, perEndpoint: 100 }
  for (const { delivery, endpoint } of await leaseWebhookDeliveries(database.db, lease)) {
    if (endpoint.id !== endpointId) throw new Error('another endpoint')
    const attempt = { startedAt: now, durationMs: 12, statusCode, responseBody: 'no', error: null }
    const verdict = { state: 'failed', disable: 'never' } as const
    await recordWebhookAttempt(database.db, { delivery, owner: 'test', attempt, verdict, now, disabledTopic: 'test' })
  }
}

test('an endpoint is made with a secret that is shown once and stored sealed', async () => {
  const { status, body, headers } = await api.post('/webhooks', weather.key, {
    url: `${url}?a=b`,
    description: 'books',
    events: ['grant.frozen', 'settlement.confirmed', 'grant.frozen'],
  })
  expect(status).toBe(201)
  expect(headers.get('location')).toBe(`/api/webhooks/${body.id}`)
  expect(headers.get('cache-control')).toBe('no-store')
  const { secret, ...endpoint } = body
  expect(secret).toMatch(/^whsec_/)
  expect(endpoint).toEqual({
    id: expect.stringMatching(/^whep_[0-9a-f]{32}$/),
    merchantId: weather.id,
    account: null,
    url: `${url}?a=b`,
    description: 'books',
    events: ['grant.frozen', 'settlement.confirmed'],
    state: 'enabled',
    disabledReason: null,
    disabledAt: null,
    failingSince: null,
    previousSecretUntil: null,
    createdAt: expect.any(String),
    updatedAt: expect.any(String),
  })
  expect((await api.get(`/webhooks/${body.id}`, weather.key)).body).toEqual(endpoint)
  expect((await api.get('/webhooks', weather.key)).body.webhooks).toContainEqual(endpoint)
  const stored = JSON.stringify(await database.query('select * from webhook_endpoint'))
  expect(stored).not.toContain(secret.slice('whsec_'.length))
})

test('the operator makes one for a merchant, or one of its own', async () => {
  const made = await api.post('/webhooks', operatorApiKey, { url, merchantId: maps.id })
  expect(made).toMatchObject({ status: 201, body: { merchantId: maps.id } })
  for (const merchantId of [undefined, null]) {
    const own = await api.post('/webhooks', operatorApiKey, { url, merchantId, events: ['reconciliation.difference'] })
    expect(own).toMatchObject({ status: 201, body: { merchantId: null, account: null } })
    expect(await api.get(`/webhooks/${own.body.id}`, weather.key)).toMatchObject({ status: 404 })
    await api.delete(`/webhooks/${own.body.id}`, operatorApiKey)
  }
  for (const key of [operatorApiKey, weather.key]) {
    const wrong = await api.post('/webhooks', key, { url, merchantId: `mer_${'0'.repeat(32)}` })
    expect(wrong).toMatchObject({ status: 404, body: { code: 'merchant.unknown' } })
  }
  expect(await api.post('/webhooks', weather.key, { url, merchantId: maps.id })).toMatchObject({ status: 404 })
})

test.each([
  ['http://hooks.example.com/'],
  ['https://127.0.0.1/'],
  ['https://[::ffff:10.0.0.1]/'],
  ['https://user:secret@hooks.example.com/'],
  ['hooks.example.com'],
])('the URL %s is refused, audited, and changes nothing', async (refused) => {
  const { id } = await create(weather)
  const count = async () => (await api.get('/webhooks?limit=100', weather.key)).body.webhooks.length
  const before = await count()
  const made = await api.post('/webhooks', weather.key, { url: refused })
  expect(made).toMatchObject({
    status: 422,
    body: { code: 'webhook.url_refused', detail: expect.stringMatching(/^It/) },
  })
  expect(await api.patch(`/webhooks/${id}`, weather.key, { url: refused })).toMatchObject({ status: 422 })
  expect(await count()).toBe(before)
  expect((await api.get(`/webhooks/${id}`, weather.key)).body.url).toBe(url)
  const { items } = await listAudit(database.db, { limit: 2 })
  const entry = { actor: weather.keyId, action: 'webhook_url', outcome: 'refused', errorCode: 'webhook.url_refused' }
  expect(items).toMatchObject([
    { ...entry, subject: id },
    { ...entry, subject: weather.id },
  ])
  await api.delete(`/webhooks/${id}`, weather.key)
})

test.each([
  [{ url, events: [] }],
  [{ url, events: ['grant.melted'] }],
  [{ url, description: '' }],
  [{ url, secret: 'whsec_mine' }],
  [{}],
])('%j is no endpoint', async (body) => {
  expect(await api.post('/webhooks', weather.key, body)).toMatchObject({
    status: 400,
    body: { code: 'request.invalid' },
  })
})

test('what was left out of a change stays', async () => {
  const { id } = await create(weather, { description: 'books', events: ['grant.frozen'] })
  const path = `/webhooks/${id}`
  expect((await api.patch(path, weather.key, { enabled: false })).body).toMatchObject({
    url,
    description: 'books',
    events: ['grant.frozen'],
    state: 'disabled',
    disabledReason: 'merchant',
  })
  expect((await api.patch(path, weather.key, { events: null, url: `${url}/2` })).body).toMatchObject({
    url: `${url}/2`,
    events: null,
    state: 'disabled',
  })
  expect((await api.patch(path, weather.key, { enabled: true })).body).toMatchObject({
    state: 'enabled',
    disabledReason: null,
  })
  expect(await api.patch(path, weather.key, {})).toMatchObject({ status: 400 })
  expect(await api.delete(path, weather.key)).toMatchObject({ status: 204 })
  expect(await api.delete(path, weather.key)).toMatchObject({ status: 404, body: { code: 'webhook.unknown' } })
})

test('a new secret signs beside the one of before until the overlap ends', async () => {
  const { id, secret } = await create(weather)
  const rotated = await api.post(`/webhooks/${id}/rotate-secret`, weather.key)
  expect(rotated.body.secret).not.toBe(secret)
  const untilMs = Date.parse(rotated.body.previousSecretUntil)
  expect(untilMs).toBeGreaterThan(Date.now() + 86_000_000)
  const atOnce = await api.post(`/webhooks/${id}/rotate-secret`, weather.key, { overlapSeconds: 0 })
  expect(Date.parse(atOnce.body.previousSecretUntil)).toBeLessThanOrEqual(Date.now())
  const tooLong = await api.post(`/webhooks/${id}/rotate-secret`, weather.key, { overlapSeconds: 604_801 })
  expect(tooLong.status).toBe(400)
  await api.delete(`/webhooks/${id}`, weather.key)
})

test('a test event is logged with each try, and can be sent again when it came to an end', async () => {
  const { id } = await create(maps, { events: ['grant.frozen'] })
  const sent = await api.post(`/webhooks/${id}/test`, maps.key)
  expect(sent).toMatchObject({ status: 202, body: { endpointId: id, state: 'pending' } })
  const { deliveryId, eventId } = sent.body
  const path = `/webhooks/${id}/deliveries/${deliveryId}`
  expect(await api.post(`${path}/replay`, maps.key)).toMatchObject({
    status: 409,
    body: { code: 'webhook.delivery_pending' },
  })
  await tryAll(id, 500)
  const listed = await api.get(`/webhooks/${id}/deliveries?state=failed`, maps.key)
  const delivery = {
    id: deliveryId,
    eventId,
    endpointId: id,
    type: 'webhook_endpoint.test',
    state: 'failed',
    attempts: 1,
  }
  expect(listed.body.deliveries).toMatchObject([delivery])
  expect((await api.get(path, maps.key)).body).toMatchObject({
    ...delivery,
    payload: { type: 'webhook_endpoint.test', data: { endpointId: id } },
    attemptLog: [{ durationMs: 12, statusCode: 500, responseBody: 'no', error: null }],
  })
  expect(await api.post(`${path}/replay`, maps.key)).toMatchObject({ status: 202, body: { deliveryId, eventId } })
  expect((await api.get(path, maps.key)).body).toMatchObject({ state: 'pending', attempts: 0, maxAttempts: 1 })
  await tryAll(id, 500)
  await api.patch(`/webhooks/${id}`, maps.key, { enabled: false })
  for (const again of [`${path}/replay`, `/webhooks/${id}/test`]) {
    expect(await api.post(again, maps.key)).toMatchObject({ status: 409, body: { code: 'webhook.disabled' } })
  }
  expect((await claimOutbox(database.db, { limit: 10, leaseMs: 1, now: new Date(Date.now() + 1_000) })).length).toBe(0)
})

test('pages of deliveries hold each once, newest first', async () => {
  const { id } = await create(maps)
  const ids: string[] = []
  for (let number = 0; number < 3; number++) {
    ids.unshift((await api.post(`/webhooks/${id}/test`, maps.key)).body.deliveryId)
  }
  const first = await api.get(`/webhooks/${id}/deliveries?limit=2`, maps.key)
  const rest = await api.get(`/webhooks/${id}/deliveries?limit=2&cursor=${first.body.nextCursor}`, maps.key)
  const seen = [...first.body.deliveries, ...rest.body.deliveries].map((delivery: { id: string }) => delivery.id)
  expect(seen).toEqual(ids)
  expect(rest.body.nextCursor).toBeUndefined()
  await tryAll(id, 500)
})

test('another merchant neither sees nor touches an endpoint, its secret or its deliveries', async () => {
  const { id } = await create(weather)
  const { deliveryId } = (await api.post(`/webhooks/${id}/test`, weather.key)).body
  const path = `/webhooks/${id}`
  const asked = [
    await api.get(path, maps.key),
    await api.patch(path, maps.key, { enabled: false }),
    await api.delete(path, maps.key),
    await api.post(`${path}/rotate-secret`, maps.key),
    await api.post(`${path}/test`, maps.key),
    await api.get(`${path}/deliveries`, maps.key),
  ]
  for (const { status, body } of asked) expect([status, body.code]).toEqual([404, 'webhook.unknown'])
  const deliveries = [
    await api.get(`${path}/deliveries/${deliveryId}`, maps.key),
    await api.post(`${path}/deliveries/${deliveryId}/replay`, maps.key),
    await api.get(`/webhooks/${nobody}/deliveries/${deliveryId}`, weather.key),
  ]
  for (const { status, body } of deliveries) expect([status, body.code]).toEqual([404, 'webhook.delivery_unknown'])
  const listed = (await api.get('/webhooks?limit=100', maps.key)).body.webhooks
  expect(listed.map((endpoint: { merchantId: string }) => endpoint.merchantId)).not.toContain(weather.id)
  expect((await api.get(path, weather.key)).body).toMatchObject({ state: 'enabled', previousSecretUntil: null })
})

test('a merchant has a bounded number of endpoints, also when it makes them at once', async () => {
  const shop = await api.createMerchant('Shop')
  const made = await Promise.all(
    Array.from({ length: maxWebhookEndpoints + 3 }, () => api.post('/webhooks', shop.key, { url })),
  )
  expect(made.filter(({ status }) => status === 201)).toHaveLength(maxWebhookEndpoints)
  expect(made.filter(({ body }) => body.code === 'webhook.too_many')).toHaveLength(3)
})

test('a gateway without a key makes no endpoint, and says what is missing', async () => {
  const db = createDb({ url: database.url, onError: () => {} })
  const logger = pino({ level: 'silent' })
  const checkUrl = async (text: string) => ({ ok: true as const, url: new URL(text) })
  const callerOf = (c: Context<ApiEnv>): WebhookCaller => ({
    ...c.get('caller'),
    audience: 'merchant',
    account: null,
    run: (work) => asCaller(db, c.get('caller'), work),
  })
  const routes = createWebhookRoutes<ApiEnv>({ db, clock: Date.now, logger, secrets: undefined, checkUrl, callerOf })
  const app = new Hono().use(authenticate(db, operatorApiKey)).route('/webhooks', routes)
  app.onError((error) => ('response' in error ? (error.response as Response) : new Response(null, { status: 500 })))
  const response = await app.request('/webhooks', {
    method: 'POST',
    headers: { authorization: `Bearer ${weather.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ url }),
  })
  expect(response.status).toBe(501)
  expect(await response.json()).toMatchObject({ code: 'webhook.not_configured' })
  await db.close()
})

test('every type that is told to whose endpoint it is can be asked for, and no other', async () => {
  const { merchant, operator } = webhookEventTypes
  const { id } = await create(weather, { events: merchant })
  expect((await api.get(`/webhooks/${id}`, weather.key)).body.events).toEqual(merchant)
  const refused = {
    status: 400,
    body: { code: 'request.invalid', detail: expect.stringContaining('usage.quarantined') },
  }
  const events = ['grant.frozen', 'usage.quarantined']
  expect(await api.post('/webhooks', weather.key, { url, events })).toMatchObject(refused)
  expect(await api.patch(`/webhooks/${id}`, weather.key, { events })).toMatchObject(refused)
  // The operator too: the endpoint is the merchant's.
  expect(await api.patch(`/webhooks/${id}`, operatorApiKey, { events })).toMatchObject(refused)
  const own = await api.post('/webhooks', operatorApiKey, { url, events: operator })
  expect(own).toMatchObject({ status: 201, body: { events: operator } })
  await api.delete(`/webhooks/${own.body.id}`, operatorApiKey)
})
