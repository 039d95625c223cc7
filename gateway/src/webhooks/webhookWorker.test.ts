import { randomBytes, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  appendOutbox,
  createMerchant,
  createWebhookEndpoint,
  getWebhookDelivery,
  getWebhookEndpoint,
  listWebhookDeliveries,
  openOwnerSession,
  replayWebhookDelivery,
  rotateWebhookSecret,
  updateWebhookEndpoint,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { Webhook } from 'standardwebhooks'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { randomAddress } from '../api/testing/testApi.ts'
import { maxAttempts } from './judgeAttempt.ts'
import { createSecretBox } from './secretBox.ts'
import { createWebhookSender } from './sendWebhook.ts'
import { createWebhookSecret } from './signWebhook.ts'
import { createWebhookWorker, type WebhookWorkerOptions } from './webhookWorker.ts'

// On a real Postgres and against a real HTTP receiver; the time between tries is a clock that the test moves.

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const secrets = createSecretBox([randomBytes(32)])
const send = createWebhookSender({
  allowPrivateNetworks: true,
  // No receiver here is given up: not one that waits for the test, nor on a machine that is busy.
  timeoutMs: 120_000,
  lookup: (_, __, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]),
})
const leaseMs = 20_000

let nowMs = Date.now()
function createWorker(options: Partial<WebhookWorkerOptions> = {}) {
  return createWebhookWorker({
    db: database.db,
    secrets,
    send,
    leaseMs,
    clock: () => nowMs,
    random: () => 0.5,
    createLeaseId: randomUUID,
    logger: pino({ level: 'silent' }),
    ...options,
  })
}

type Call = { id: string; headers: Record<string, string>; body: string }

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** An HTTP server that answers with `status()` and keeps what it was sent. */
async function startReceiver(status: () => number | Promise<number> = () => 204) {
  const calls: Call[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, `${value}`]))
    calls.push({ id: headers['webhook-id'] ?? '', headers, body })
    response.writeHead(await status()).end('seen')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, calls }
}

/** Of nobody: the operator's; or of an account's owner. */
async function arrangeOther(url: string, account: Address | null, eventTypes?: string[]) {
  const secret = createWebhookSecret()
  const sealSecret = (id: string) => secrets.seal(secret, id)
  const endpoint = await createWebhookEndpoint(database.db, { merchantId: null, account, url, eventTypes, sealSecret })
  if (!endpoint) throw new Error('no endpoint')
  return { id: endpoint.id, secret }
}

async function arrangeEndpoint(
  url: string,
  { merchantId, eventTypes }: { merchantId?: string; eventTypes?: string[] } = {},
) {
  const owner = merchantId ?? (await createMerchant(database.db, { name: 'Shop', payee: randomAddress() })).id
  const secret = createWebhookSecret()
  const endpoint = await createWebhookEndpoint(database.db, {
    merchantId: owner,
    account: null,
    url,
    eventTypes,
    sealSecret: (id) => secrets.seal(secret, id),
  })
  if (!endpoint) throw new Error('no endpoint')
  return { merchantId: owner, id: endpoint.id, secret }
}

/** A withdrawal that is asked for, as the database writes it. */
function tell(merchantId: string, withdrawingAtomic = '20') {
  const account = '0x70997970c51812dc3a010c7d01b50e0d17dc79c8'
  const payload = { account, token: account, balanceAtomic: '50', withdrawingAtomic, withdrawableAt: 1_800_000_000 }
  return appendOutbox(database.db, { topic: 'reserve.withdrawal_requested', merchantId, payload })
}

async function deliveryOf(endpointId: string) {
  const { items } = await listWebhookDeliveries(database.db, { endpointId })
  const [newest] = items
  if (!newest) throw new Error('no delivery')
  const found = await getWebhookDelivery(database.db, { id: newest.delivery.id, endpointId })
  if (!found) throw new Error('no delivery')
  return found
}

/** To the next try of the endpoint's newest event. */
async function skipWait(endpointId: string): Promise<void> {
  const { nextAttemptAt } = (await deliveryOf(endpointId)).delivery
  nowMs = (nextAttemptAt ?? new Date(nowMs)).getTime()
}

test('an event reaches every endpoint that wants it, signed for each, under one id', async () => {
  const [first, second, third] = [await startReceiver(), await startReceiver(), await startReceiver()]
  const one = await arrangeEndpoint(first.url)
  const two = await arrangeEndpoint(second.url, {
    merchantId: one.merchantId,
    eventTypes: ['grant.frozen', 'reserve.withdrawal_requested'],
  })
  await arrangeEndpoint(third.url, { merchantId: one.merchantId, eventTypes: ['grant.frozen'] })
  await arrangeEndpoint(third.url)
  await tell(one.merchantId)
  expect(await createWorker().drain()).toBe(2)
  expect(third.calls).toEqual([])
  for (const [{ calls }, { secret, id }] of [
    [first, one],
    [second, two],
  ] as const) {
    expect(calls).toHaveLength(1)
    const [call] = calls
    expect(call?.headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'ProtocolBanks-Webhooks/1',
    })
    const found = await deliveryOf(id)
    expect(new Webhook(secret).verify(call?.body ?? '', call?.headers ?? {})).toEqual({
      type: 'reserve.withdrawal_requested',
      timestamp: found.event.occurredAt.toISOString(),
      data: {
        account: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8',
        token: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8',
        balanceAtomic: '50',
        withdrawingAtomic: '20',
        withdrawableAt: '2027-01-15T08:00:00.000Z',
      },
    })
    expect(call?.id).toBe(found.event.id)
    expect(found.delivery).toMatchObject({ state: 'delivered', attempts: 1, nextAttemptAt: null })
    expect(found.attempts).toMatchObject([{ statusCode: 204, error: null }])
  }
  expect(first.calls[0]?.id).toBe(second.calls[0]?.id)
  expect(await createWorker().drain()).toBe(0)
})

test("an owner's events go to the endpoints of their account, the operator's to the operator's, and nobody else's", async () => {
  const [account, other] = [randomAddress(), randomAddress()]
  const receivers = await Promise.all([1, 2, 3, 4].map(() => startReceiver()))
  const [own, others, operator, merchant] = receivers as [Receiver, Receiver, Receiver, Receiver]
  const mine = await arrangeOther(own.url, account)
  await arrangeOther(others.url, other)
  const alerts = await arrangeOther(operator.url, null)
  await arrangeEndpoint(merchant.url)
  const db = database.db
  const token = account
  const withdrawal = { account, token, balanceAtomic: '5', withdrawingAtomic: '2', withdrawableAt: 1_800_000_000 }
  await appendOutbox(db, { topic: 'reserve.withdrawal_requested', merchantId: null, account, payload: withdrawal })
  const payload = { events: 1, reasons: { stale: 1 }, firstEventId: 'e-1', firstDetail: 'Too old.' }
  await appendOutbox(db, { topic: 'usage.quarantined', merchantId: null, payload })
  await createWorker().drain()
  expect([others.calls, merchant.calls]).toEqual([[], []])
  for (const [{ calls }, { secret }, type] of [
    [own, mine, 'reserve.withdrawal_requested'],
    [operator, alerts, 'usage.quarantined'],
  ] as const) {
    expect(calls).toHaveLength(1)
    expect(new Webhook(secret).verify(calls[0]?.body ?? '', calls[0]?.headers ?? {})).toMatchObject({ type })
  }
  await updateWebhookEndpoint(db, alerts.id, { enabled: false })
  expect((await getWebhookEndpoint(db, alerts.id))?.disabledReason).toBe('operator')
})

type Receiver = Awaited<ReturnType<typeof startReceiver>>

test('a receiver that is down and comes back gets everything, under the ids of the first tries', async () => {
  let isUp = false
  const { url, calls } = await startReceiver(() => (isUp ? 200 : 503))
  const { merchantId, id, secret } = await arrangeEndpoint(url)
  await tell(merchantId, '1')
  const worker = createWorker()
  expect(await worker.drain()).toBe(1)
  // Not before it is due.
  nowMs += 14_999
  expect(await worker.drain()).toBe(0)
  await skipWait(id)
  expect(await worker.drain()).toBe(1)
  await tell(merchantId, '2')
  expect(await worker.drain()).toBe(1)
  expect((await getWebhookEndpoint(database.db, id))?.failingSince).toBeInstanceOf(Date)
  isUp = true
  nowMs += 3_600_000
  expect(await worker.drain()).toBe(2)
  expect(calls).toHaveLength(5)
  expect(new Set(calls.map((call) => call.id)).size).toBe(2)
  const delivered = calls.slice(-2).map((call) => JSON.parse(call.body).data.withdrawingAtomic)
  expect(delivered.toSorted()).toEqual(['1', '2'])
  // Each try is signed anew, with its own time.
  expect(new Set(calls.map((call) => call.headers['webhook-timestamp'])).size).toBeGreaterThan(2)
  expect(
    new Webhook(secret).sign(
      calls[0]?.id ?? '',
      new Date(Number(calls[0]?.headers['webhook-timestamp']) * 1_000),
      calls[0]?.body ?? '',
    ),
  ).toBe(calls[0]?.headers['webhook-signature'])
  expect(await getWebhookEndpoint(database.db, id)).toMatchObject({ state: 'enabled', failingSince: null })
})

test('an endpoint that takes nothing for a day is disabled, its merchant is told elsewhere, and it goes on when it is enabled', async () => {
  let status = 500
  const dead = await startReceiver(() => status)
  const other = await startReceiver()
  const { merchantId, id } = await arrangeEndpoint(dead.url)
  await arrangeEndpoint(other.url, { merchantId, eventTypes: ['webhook_endpoint.disabled'] })
  await tell(merchantId, '1')
  const worker = createWorker()
  const startMs = nowMs
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    await worker.drain()
    if (attempt < maxAttempts) await skipWait(id)
  }
  expect(dead.calls).toHaveLength(maxAttempts)
  expect((nowMs - startMs) / 3_600_000).toBeGreaterThan(18)
  expect((await deliveryOf(id)).delivery).toMatchObject({ state: 'failed', attempts: maxAttempts })
  expect(await getWebhookEndpoint(database.db, id)).toMatchObject({ state: 'disabled', disabledReason: 'failures' })
  expect(other.calls.map(({ body }) => JSON.parse(body))).toMatchObject([
    { type: 'webhook_endpoint.disabled', data: { endpointId: id, url: dead.url, reason: 'failures' } },
  ])
  // Nothing is kept for it while it is disabled.
  await tell(merchantId, '2')
  expect(await worker.drain()).toBe(0)
  status = 204
  await updateWebhookEndpoint(database.db, id, { enabled: true })
  const { delivery, event } = await deliveryOf(id)
  expect(await replayWebhookDelivery(database.db, { id: delivery.id, maxAttempts, now: new Date(nowMs) })).toBe(true)
  expect(await replayWebhookDelivery(database.db, { id: delivery.id, maxAttempts, now: new Date(nowMs) })).toBe(false)
  expect(await worker.drain()).toBe(1)
  expect(dead.calls.at(-1)?.id).toBe(event.id)
  const again = await deliveryOf(id)
  expect(again.delivery).toMatchObject({ state: 'delivered', attempts: 1 })
  expect(again.attempts.map(({ statusCode }) => statusCode)).toEqual([...Array(maxAttempts).fill(500), 204])
})

test('an endpoint that takes some events is not disabled by one that it refuses', async () => {
  const { url } = await startReceiver(() => status)
  const { merchantId, id } = await arrangeEndpoint(url)
  await tell(merchantId)
  const worker = createWorker()
  let status = 500
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    nowMs += 86_400_000
    await worker.drain()
    if (attempt !== 4) continue
    // The first event is not due at this moment.
    status = 204
    await tell(merchantId)
    await worker.drain()
    status = 500
  }
  const { items } = await listWebhookDeliveries(database.db, { endpointId: id })
  expect(items.map(({ delivery }) => delivery.state)).toEqual(['delivered', 'failed'])
  expect(await getWebhookEndpoint(database.db, id)).toMatchObject({ state: 'enabled' })
})

test('410 disables an endpoint at once', async () => {
  const { url } = await startReceiver(() => 410)
  const { merchantId, id } = await arrangeEndpoint(url)
  await tell(merchantId)
  await createWorker().drain()
  expect(await getWebhookEndpoint(database.db, id)).toMatchObject({ state: 'disabled', disabledReason: 'gone' })
})

test('while secrets overlap both sign, and afterwards the new one alone', async () => {
  const { url, calls } = await startReceiver()
  const { merchantId, id, secret } = await arrangeEndpoint(url)
  const next = createWebhookSecret()
  const previousUntil = new Date(nowMs + 60_000)
  await rotateWebhookSecret(database.db, { id, secret: secrets.seal(next, id), previousUntil })
  await tell(merchantId, '1')
  await createWorker().drain()
  nowMs += 60_000
  await tell(merchantId, '2')
  await createWorker().drain()
  // The library compares with the time of day; the signature alone is what counts here.
  const signed = (by: string, call: Call | undefined) =>
    (call?.headers['webhook-signature'] ?? '')
      .split(' ')
      .includes(
        new Webhook(by).sign(
          call?.id ?? '',
          new Date(Number(call?.headers['webhook-timestamp']) * 1_000),
          call?.body ?? '',
        ),
      )
  expect(calls.map((call) => [signed(secret, call), signed(next, call)])).toEqual([
    [true, true],
    [false, true],
  ])
})

test('many workers send each event once', async () => {
  const { url, calls } = await startReceiver()
  const { merchantId } = await arrangeEndpoint(url)
  for (let number = 1; number <= 40; number++) await tell(merchantId, `${number}`)
  const tries = await Promise.all(Array.from({ length: 4 }, () => createWorker().drain()))
  // A worker that came last may have found the rest in other hands.
  const rest = await createWorker().drain()
  expect(tries.reduce((sum, count) => sum + count, rest)).toBe(40)
  expect(new Set(calls.map(({ id }) => id)).size).toBe(40)
  expect(calls).toHaveLength(40)
})

test('a try that was sent and not written down is made again under the same id when its lease ends', async () => {
  const { url, calls } = await startReceiver()
  const { merchantId, id } = await arrangeEndpoint(url)
  await tell(merchantId)
  // Dies after the receiver answered: what it would write never comes.
  const dying = createWorker({
    send: async (request) => {
      await send(request)
      throw new Error('killed')
    },
  })
  await dying.drain()
  expect(calls).toHaveLength(1)
  const worker = createWorker()
  nowMs += leaseMs - 1
  expect(await worker.drain()).toBe(0)
  nowMs += 1
  expect(await worker.drain()).toBe(1)
  expect(calls.map((call) => call.id)).toEqual([calls[0]?.id, calls[0]?.id])
  expect((await deliveryOf(id)).delivery).toMatchObject({ state: 'delivered', attempts: 2 })
})

test('an answer that comes after the lease ended changes nothing', async () => {
  const { url } = await startReceiver()
  const { merchantId, id } = await arrangeEndpoint(url)
  await tell(merchantId)
  const other = createWorker()
  const slow = createWorker({
    send: async (request) => {
      nowMs += leaseMs
      await other.drain()
      await send(request)
      return { statusCode: 500, responseBody: '', error: null }
    },
  })
  await slow.drain()
  const { delivery, attempts } = await deliveryOf(id)
  expect(delivery.state).toBe('delivered')
  expect(attempts).toHaveLength(1)
})

test('one endpoint that does not answer holds back no other, and gets few tries at once', async () => {
  let open = 0
  let most = 0
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const slow = await startReceiver(async () => {
    most = Math.max(most, ++open)
    await held
    open--
    return 204
  })
  const quick = await startReceiver()
  const one = await arrangeEndpoint(slow.url)
  const two = await arrangeEndpoint(quick.url)
  for (let number = 0; number < 10; number++) await tell(one.merchantId)
  for (let number = 0; number < 10; number++) await tell(two.merchantId)
  const stopping = new AbortController()
  const running = createWorker({ idleMs: 20 }).run(stopping.signal)
  await expect.poll(() => quick.calls.length, { interval: 20 }).toBe(10)
  expect(slow.calls).toHaveLength(4)
  release()
  await expect.poll(() => slow.calls.length, { interval: 20 }).toBe(10)
  stopping.abort()
  await running
  expect(most).toBe(4)
  const { items } = await listWebhookDeliveries(database.db, { endpointId: one.id, state: 'delivered' })
  expect(items).toHaveLength(10)
})

test('without a key nothing is sent, and nothing is lost', async () => {
  const { url, calls } = await startReceiver()
  const { merchantId } = await arrangeEndpoint(url)
  await tell(merchantId)
  expect(await createWorker({ secrets: undefined }).drain()).toBe(0)
  expect(calls).toEqual([])
  expect(await createWorker().drain()).toBe(1)
})

test('nothing that somebody is told of stays in the outbox, also without an endpoint; what nobody is told of is counted', async () => {
  const registry = new Registry()
  const worker = createWorker({ metrics: registry })
  await worker.drain()
  const db = database.db
  await appendOutbox(db, { topic: 'usage.quarantined', merchantId: null, payload: { eventId: 'e-2' } })
  await appendOutbox(db, { topic: 'something.new', merchantId: null, payload: {} })
  // Known to merchants alone.
  await appendOutbox(db, { topic: 'settlement.failed', merchantId: null, account: randomAddress(), payload: {} })
  const waiting = async () =>
    database.query('select topic, published_at from outbox where published_at is null order by topic')
  await createWorker().drain()
  expect(await waiting()).toMatchObject([{ topic: 'settlement.failed' }, { topic: 'something.new' }])
  nowMs += 60_000
  await worker.drain()
  const metrics = await registry.metrics()
  expect(metrics).toContain('gateway_outbox_waiting_messages{topic="something.new",known="false"} 1')
  expect(metrics).toContain('gateway_outbox_waiting_messages{topic="settlement.failed",known="false"} 1')
  expect(Number(/^gateway_outbox_oldest_message_seconds (\S+)$/m.exec(metrics)?.[1])).toBeGreaterThan(0)
  await database.query('delete from outbox where published_at is null')
  nowMs += 60_000
  await worker.drain()
  const after = await registry.metrics()
  expect(after).not.toContain('something.new')
  expect(after).toMatch(/^gateway_outbox_oldest_message_seconds 0$/m)
})

test('an event that we cannot make is tried, given up and logged, and disables nobody', async () => {
  const { url, calls } = await startReceiver()
  const { merchantId, id } = await arrangeEndpoint(url)
  await appendOutbox(database.db, { topic: 'grant.frozen', merchantId, payload: { grantId: 'no hash' } })
  const worker = createWorker()
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    await worker.drain()
    if (attempt < maxAttempts) await skipWait(id)
  }
  expect(calls).toEqual([])
  const { delivery, attempts } = await deliveryOf(id)
  expect(delivery).toMatchObject({ state: 'failed', attempts: maxAttempts })
  expect(attempts.at(-1)).toMatchObject({ statusCode: null, error: expect.stringContaining('a mistake of ours') })
  expect(await getWebhookEndpoint(database.db, id)).toMatchObject({ state: 'enabled' })
  await tell(merchantId)
  expect(await worker.drain()).toBe(1)
  expect(calls).toHaveLength(1)
})

test('events are forgotten after 30 days, and the messages they came from', async () => {
  const { url } = await startReceiver()
  const { merchantId, id } = await arrangeEndpoint(url)
  await tell(merchantId)
  await createWorker().drain()
  const rows = () =>
    database.query(
      `select (select count(*)::integer from webhook_event where merchant_id = $1) as events,
         (select count(*)::integer from webhook_delivery where endpoint_id = $2) as deliveries,
         (select count(*)::integer from outbox where merchant_id = $1) as messages`,
      [merchantId, id],
    )
  expect(await rows()).toEqual([{ events: 1, deliveries: 1, messages: 1 }])
  nowMs += 31 * 86_400_000
  await createWorker().drain()
  expect(await rows()).toEqual([{ events: 0, deliveries: 0, messages: 0 }])
})

test('what is kept for how long is configured; what is not published stays, and old sessions go as well', async () => {
  const { url } = await startReceiver()
  const { merchantId, id } = await arrangeEndpoint(url)
  await tell(merchantId)
  const [account, now] = [randomAddress(), new Date(nowMs)]
  await openOwnerSession(database.db, { account, nonce: randomUUID(), now, expiresAt: now })
  await appendOutbox(database.db, { topic: 'something.new', merchantId: null, payload: {} })
  const keptMs = 2 * 86_400_000
  await createWorker({ keptMs }).drain()
  nowMs += keptMs + 1_000
  await createWorker({ keptMs }).drain()
  const rows = await database.query(
    `select (select count(*)::integer from webhook_delivery where endpoint_id = $1) as deliveries,
       (select count(*)::integer from outbox where merchant_id = $2) as messages,
       (select count(*)::integer from outbox where topic = 'something.new') as unpublished,
       (select count(*)::integer from owner_session where account = $3) as sessions`,
    [id, merchantId, account.toLowerCase()],
  )
  expect(rows).toEqual([{ deliveries: 0, messages: 0, unpublished: 1, sessions: 0 }])
})
