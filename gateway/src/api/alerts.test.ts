import { randomBytes } from 'node:crypto'
import {
  activateAlertChannel,
  createAlertChannel,
  disableAlertChannel,
  getAlertChannel,
  listAlertDeliveries,
  listAudit,
  listDecisions,
  listIncidents,
  openIncident,
  openOwnerSession,
  putAlertLink,
  startAlertChat,
  tellAlertSender,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestApi, operatorApiKey, randomAddress, randomHex, type TestApi } from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  await tellAlertSender(database.db, { kind: 'email', configured: true, sender: 'alerts@example.com', now: new Date() })
  await tellAlertSender(database.db, { kind: 'telegram', configured: true, sender: 'stream_bot', now: new Date() })
})
afterAll(() => database.drop())

const newAddress = () => `${randomHex(8)}@example.com`

/** An owner with a session. */
async function arrangeOwner() {
  const account = randomAddress()
  const expiresAt = new Date(Date.now() + 3_600_000)
  const session = await openOwnerSession(database.db, { account, nonce: randomHex(16), now: new Date(), expiresAt })
  if (!session) throw new Error('no session')
  return { account, token: session.token }
}

async function createEmail(path: string, key: string, more: Record<string, unknown> = {}) {
  return api.post(path, key, { kind: 'email', address: newAddress(), ...more })
}

/** An incident of a grant of the account, and a link about it at a channel of this holder. */
async function arrangeLink(
  purpose: 'acknowledge' | 'confirm' | 'reject',
  who: 'owner' | 'merchant' = 'owner',
  expiresAt = new Date(Date.now() + 60_000),
) {
  const { db } = database
  const { account } = await arrangeOwner()
  const { payee, key, id: merchantId } = await api.createMerchant('Shop')
  const terms = { sessionKey: randomAddress(), totalLimit: '100', validUntil: 4_000_000_000 }
  const { body } = await api.post('/session-keys', key, { account, terms, payees: [payee] })
  const { grantId } = body as { grantId: Hex }
  const now = new Date()
  const holder = who === 'owner' ? { account, merchantId: null } : { account: null, merchantId }
  const channel = await createAlertChannel(db, {
    ...holder,
    kind: 'email',
    target: newAddress(),
    leastSeverity: 'info',
    now,
  })
  if (typeof channel === 'string') throw new Error(channel)
  await activateAlertChannel(db, { id: channel.id, target: channel.target ?? '', now })
  const { incident } = await openIncident(db, {
    grantId,
    account,
    rule: 'calls.per_minute',
    ruleVersion: 1,
    action: 'freeze',
    severity: 'critical',
    ruleId: null,
    payee,
    requestId: randomHex(12),
    chargedAt: now,
    inputs: {},
    explanation: 'It made <b>101</b> calls within a minute.',
    now,
  })
  const token = randomBytes(32).toString('base64url')
  const incidentId = incident.id
  await putAlertLink(db, { channelId: channel.id, deliveryId: null, incidentId, purpose, token, expiresAt, now })
  return { account, channel, incident, token, grantId }
}

async function open(token: string, method: 'GET' | 'POST' | 'HEAD' = 'GET', headers: Record<string, string> = {}) {
  const response = await api.app.request(`/api/alert-links?token=${encodeURIComponent(token)}`, { method, headers })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

const stateOf = async (grantId: Hex) => (await listIncidents(database.db, { grantId })).items[0]?.state

test('an address becomes a channel that is not confirmed, gets one message that asks it, and both are audited', async () => {
  const { account, token } = await arrangeOwner()
  const address = newAddress()
  const { status, body, headers } = await api.post('/owner/alert-channels', token, { kind: 'email', address })
  expect(status).toBe(201)
  expect(headers.get('location')).toBe(`/api/owner/alert-channels/${body.id}`)
  expect(body).toEqual({
    id: expect.stringMatching(/^ach_[0-9a-f]{32}$/),
    merchantId: null,
    account,
    kind: 'email',
    address,
    leastSeverity: 'info',
    state: 'unverified',
    disabled: null,
    createdAt: expect.any(String),
    verifiedAt: null,
  })
  expect((await api.get('/owner/alert-channels', token)).body).toEqual({ channels: [body] })
  expect((await api.get(`/owner/alert-channels/${body.id}`, token)).body).toEqual(body)
  const { deliveries } = (await api.get(`/owner/alert-channels/${body.id}/deliveries`, token)).body
  expect(deliveries).toMatchObject([{ kind: 'verify', state: 'pending', attempts: 0, incidentId: null }])
  expect(await api.post(`/owner/alert-channels/${body.id}/test`, token)).toMatchObject({
    status: 409,
    body: { code: 'alert.channel_inactive' },
  })
  expect(await api.post('/owner/alert-channels', token, { kind: 'email', address })).toMatchObject({
    status: 409,
    body: { code: 'alert.channel_exists' },
  })
  expect(await api.get(`/owner/alert-channels/${body.id}/deliveries?cursor=ach_x`, token)).toMatchObject({
    status: 400,
    body: { code: 'cursor.invalid' },
  })
  expect(await api.delete(`/owner/alert-channels/${body.id}`, token)).toMatchObject({ status: 204 })
  expect(await api.get(`/owner/alert-channels/${body.id}`, token)).toMatchObject({ status: 404 })
  const { items } = await listAudit(database.db, { subject: body.id })
  const actor = `owner:${account.toLowerCase()}`
  expect(items).toMatchObject([
    { action: 'alert_channel_delete', actor },
    { action: 'alert_channel_create', actor },
  ])
})

test.each([
  ['two addresses', 'a@example.com,b@example.com'],
  ['a line break', 'a@example.com\r\nBcc: b@example.com'],
  ['a name', 'Somebody <a@example.com>'],
  ['a quoted local part', '"a b"@example.com'],
  ['no domain', 'a@'],
  ['a control character', 'a\u0000@example.com'],
  ['more than 254 characters', `a@${'b'.repeat(250)}.com`],
])('an address with %s is refused, and changes nothing', async (_, address) => {
  const { token } = await arrangeOwner()
  const refused = await api.post('/owner/alert-channels', token, { kind: 'email', address })
  expect(refused).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
  expect((await api.get('/owner/alert-channels', token)).body.channels).toEqual([])
})

test('whose channel it is decides who sees it, and the operator makes them for merchants', async () => {
  const [weather, maps, owner] = [
    await api.createMerchant('Weather'),
    await api.createMerchant('Maps'),
    await arrangeOwner(),
  ]
  const own = await createEmail('/alert-channels', weather.key)
  expect(own).toMatchObject({ status: 201, body: { merchantId: weather.id, account: null } })
  const operators = await createEmail('/alert-channels', operatorApiKey)
  expect(operators).toMatchObject({ status: 201, body: { merchantId: null, account: null } })
  const made = await createEmail('/alert-channels', operatorApiKey, { merchantId: maps.id })
  expect(made).toMatchObject({ status: 201, body: { merchantId: maps.id } })
  for (const wrong of [`mer_${'0'.repeat(32)}`, maps.id]) {
    const refused = await createEmail('/alert-channels', weather.key, { merchantId: wrong })
    expect(refused).toMatchObject({ status: 404, body: { code: 'merchant.unknown' } })
  }
  const idsOf = async (path: string, key: string) =>
    (await api.get(`${path}?limit=100`, key)).body.channels.map(({ id }: { id: string }) => id)
  expect(await idsOf('/alert-channels', weather.key)).toEqual([own.body.id])
  expect(await idsOf('/owner/alert-channels', owner.token)).toEqual([])
  expect(await idsOf('/alert-channels', operatorApiKey)).toEqual(
    expect.arrayContaining([own.body.id, operators.body.id, made.body.id]),
  )
  for (const id of [operators.body.id, made.body.id, `ach_${'0'.repeat(32)}`, 'nonsense']) {
    for (const [method, path] of [
      ['get', ''],
      ['get', '/deliveries'],
      ['delete', ''],
      ['post', '/test'],
      ['post', '/verification'],
    ] as const) {
      const answer = await api[method](`/alert-channels/${id}${path}`, weather.key)
      expect(answer, `${method} ${path}`).toMatchObject({ status: 404, body: { code: 'alert.channel_unknown' } })
    }
  }
})

test('a chat is made by a link that is shown once, and by another when that is lost', async () => {
  const { token, account } = await arrangeOwner()
  const made = await api.post('/owner/alert-channels', token, { kind: 'telegram', leastSeverity: 'critical' })
  expect(made).toMatchObject({ status: 201, body: { kind: 'telegram', address: null, leastSeverity: 'critical' } })
  const { startUrl, id } = made.body
  expect(startUrl).toMatch(/^https:\/\/t\.me\/stream_bot\?start=[A-Za-z0-9_-]{43}$/)
  expect(JSON.stringify((await api.get('/owner/alert-channels', token)).body)).not.toContain('startUrl')
  const again = await api.post(`/owner/alert-channels/${id}/verification`, token)
  expect(again).toMatchObject({ status: 202, body: { id } })
  const start = new URL(again.body.startUrl).searchParams.get('start') ?? ''
  expect(await startAlertChat(database.db, { token: start, chatId: '77', now: new Date() })).toBe('started')
  const tested = await api.post(`/owner/alert-channels/${id}/test`, token)
  expect(tested).toMatchObject({ status: 202, body: { kind: 'test', state: 'pending' } })
  const { items } = await listAlertDeliveries(database.db, { channelId: id })
  expect(items.map(({ kind }) => kind)).toEqual(['test', 'verified'])
  expect(await api.post(`/owner/alert-channels/${id}/verification`, token)).toMatchObject({
    status: 409,
    body: { code: 'alert.channel_verified' },
  })
  await disableAlertChannel(database.db, { id, reason: 'blocked', detail: '403 Forbidden', now: new Date() })
  const shown = (await api.get(`/owner/alert-channels/${id}`, token)).body
  expect(shown).toMatchObject({ account, state: 'disabled', disabled: { reason: 'blocked', detail: '403 Forbidden' } })
})

test('channels of a holder, and messages that ask one address, are bounded', async () => {
  const { token } = await arrangeOwner()
  const made = []
  for (let n = 0; n < 11; n++) made.push(await createEmail('/owner/alert-channels', token))
  expect(made.map(({ status }) => status)).toEqual([...Array.from({ length: 10 }, () => 201), 409])
  expect(made.at(-1)?.body.code).toBe('alert.too_many_channels')
  const id = made[0]?.body.id
  const asked = []
  for (let n = 0; n < 5; n++) asked.push((await api.post(`/owner/alert-channels/${id}/verification`, token)).status)
  expect(asked).toEqual([202, 202, 202, 202, 429])
})

test('what one holder changes is bounded in time, and does not stop another', async () => {
  const slow = createTestApi(database.db, { signIn: { perMinute: 3 } })
  const [one, two] = [await arrangeOwner(), await arrangeOwner()]
  const create = (token: string) =>
    slow.post('/owner/alert-channels', token, { kind: 'email', address: newAddress() }).then(({ status }) => status)
  expect([await create(one.token), await create(one.token), await create(one.token)]).toEqual([201, 201, 201])
  expect(await create(one.token)).toBe(429)
  expect(await create(two.token)).toBe(201)
})

test('where no sentinel sends this way, that is said before a channel is made', async () => {
  const { db } = database
  const { token } = await arrangeOwner()
  try {
    for (const kind of ['email', 'telegram'] as const)
      await tellAlertSender(db, { kind, configured: false, sender: null, now: new Date() })
    for (const wanted of [{ kind: 'telegram' }, { kind: 'email', address: newAddress() }]) {
      const refused = await api.post('/owner/alert-channels', token, wanted)
      expect(refused).toMatchObject({ status: 501, body: { code: 'alert.not_configured' } })
    }
    // The bot's name is not known yet.
    await tellAlertSender(db, { kind: 'telegram', configured: true, sender: null, now: new Date() })
    expect(await api.post('/owner/alert-channels', token, { kind: 'telegram' })).toMatchObject({ status: 501 })
  } finally {
    await tellAlertSender(db, { kind: 'email', configured: true, sender: 'alerts@example.com', now: new Date() })
    await tellAlertSender(db, { kind: 'telegram', configured: true, sender: 'stream_bot', now: new Date() })
  }
})

test('opening a link changes nothing, however often, and its page runs and loads nothing', async () => {
  const { token, grantId, incident } = await arrangeLink('confirm')
  for (const method of ['GET', 'HEAD', 'GET'] as const) expect((await open(token, method)).status).toBe(200)
  const { text, headers } = await open(token)
  expect(text).toContain('This was me: let it go on')
  expect(text).toContain('It made &lt;b&gt;101&lt;/b&gt; calls within a minute.')
  expect(text).toContain(grantId)
  expect(text).not.toContain(token)
  expect(text).not.toContain('<script')
  expect(headers.get('cache-control')).toBe('no-store')
  expect(headers.get('referrer-policy')).toBe('no-referrer')
  expect(headers.get('content-security-policy')).toMatch(/default-src 'none'.*frame-ancestors 'none'/)
  expect(await stateOf(grantId)).toBe('open')
  expect(await listDecisions(database.db, { incidentId: incident.id })).toEqual([])
})

test.each([
  ['acknowledge', 'Noted', undefined],
  ['confirm', 'Noted: it was you', 'confirm'],
  ['reject', 'Noted: it stays stopped', 'reject'],
] as const)(
  'the button of a link to %s does it once; used again it says so, and changes nothing',
  async (purpose, title, decision) => {
    const { token, incident, grantId, account, channel } = await arrangeLink(purpose)
    const done = await open(token, 'POST')
    expect(done.status).toBe(200)
    expect(done.text).toContain(`<h1>${title}</h1>`)
    expect(await stateOf(grantId)).toBe('acknowledged')
    const decided = async () =>
      (await listDecisions(database.db, { incidentId: incident.id })).map((made) => made.decision)
    expect(await decided()).toEqual(decision ? [decision] : [])
    for (const method of ['GET', 'POST'] as const) {
      const again = await open(token, method)
      expect(again).toMatchObject({ status: 410, text: expect.stringContaining('This link was used') })
    }
    expect(await decided()).toEqual(decision ? [decision] : [])
    const { items } = await listAudit(database.db, { subject: incident.id })
    const refused = { action: `alert_link_${purpose}`, outcome: 'refused', actor: `alert:${channel.id}` }
    expect(items).toMatchObject([
      { ...refused, errorCode: 'alert.link_used' },
      { ...refused, errorCode: 'alert.link_used' },
      { action: `alert_link_${purpose}`, outcome: 'done', actor: `owner:${account.toLowerCase()}` },
    ])
  },
)

test('an expired and a forged link say so, change nothing and are audited', async () => {
  const { token, grantId, incident } = await arrangeLink('reject', 'owner', new Date(Date.now() - 1))
  for (const method of ['GET', 'POST'] as const) {
    expect(await open(token, method)).toMatchObject({ status: 410, text: expect.stringContaining('has expired') })
    for (const forged of ['', 'x', randomBytes(32).toString('base64url'), `${token}'`])
      expect(await open(forged, method)).toMatchObject({ status: 404, text: expect.stringContaining('is not known') })
  }
  expect(await stateOf(grantId)).toBe('open')
  const { items } = await listAudit(database.db, { subject: incident.id })
  expect(items.map(({ errorCode }) => errorCode)).toEqual(['alert.link_expired', 'alert.link_expired'])
  const unknown = (await listAudit(database.db, { subject: 'unknown' })).items
  expect(unknown[0]).toMatchObject({ outcome: 'refused', errorCode: 'alert.link_unknown' })
  expect(JSON.stringify(unknown)).not.toContain(token)
})

test('a merchant sees on the page what is owed to them, and not what the owner does elsewhere', async () => {
  const { token, account, grantId } = await arrangeLink('acknowledge', 'merchant')
  const { text } = await open(token)
  expect(text).toContain('The sentinel stopped a grant that pays you.')
  expect(text).toContain('Owed to you and not settled')
  for (const secret of ['calls within a minute', account, 'calls.per_minute']) expect(text).not.toContain(secret)
  expect(await open(token, 'POST')).toMatchObject({ status: 200 })
  expect(await stateOf(grantId), 'the owner is still reminded').toBe('open')
})

test('an address is confirmed by the button of its link, and by nothing else', async () => {
  const { token: session } = await arrangeOwner()
  const { body } = await createEmail('/owner/alert-channels', session)
  const token = randomBytes(32).toString('base64url')
  const now = new Date()
  const expiresAt = new Date(Date.now() + 60_000)
  const link = { channelId: body.id as string, deliveryId: null, incidentId: null, purpose: 'verify' } as const
  await putAlertLink(database.db, { ...link, token, expiresAt, now })
  expect((await open(token)).text).toContain(body.address)
  expect(await getAlertChannel(database.db, body.id)).toMatchObject({ state: 'unverified' })
  expect((await open(token, 'POST')).text).toContain('Alerts are sent to this address')
  expect(await getAlertChannel(database.db, body.id)).toMatchObject({ state: 'active', verifiedAt: expect.any(Date) })
  // The link that starts a chat is for the chat alone.
  const chat = await api.post('/owner/alert-channels', session, { kind: 'telegram' })
  const start = new URL(chat.body.startUrl).searchParams.get('start') ?? ''
  for (const method of ['GET', 'POST'] as const) expect((await open(start, method)).status).toBe(404)
  expect(await getAlertChannel(database.db, chat.body.id)).toMatchObject({ state: 'unverified' })
})

test('one client opens a bounded number of links in a minute', async () => {
  const slow = createTestApi(database.db, { signIn: { perMinute: 2 } })
  const ask = async (client: string) =>
    (await slow.app.request('/api/alert-links?token=x', { headers: { 'x-client': client } })).status
  expect([await ask('a'), await ask('a'), await ask('a'), await ask('b')]).toEqual([404, 404, 429, 404])
})
