import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { listAudit } from '../audit/auditEntries.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { ownerActor } from '../owners/ownerActor.ts'
import { stopRejected } from '../sentinel/breaker.ts'
import { listDecisions, recordDecision } from '../sentinel/decisions.ts'
import {
  acknowledgeIncident,
  closeIncident,
  type Incident,
  listIncidents,
  type NewIncident,
  openIncident,
} from '../sentinel/incidents.ts'
import { getStopOfIncident, listOpenStops, markRefused, markStopConfirmed } from '../sentinel/stops.ts'
import { arrangeFinding } from '../testing/arrangeFinding.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeMerchant, chargeEvent, randomAddress, randomHex } from '../testing/fixtures.ts'
import type { AlertChannel, AlertHolder, AlertLinkPurpose } from './alert.ts'
import {
  createAlertChannel,
  deleteAlertChannel,
  getAlertChannel,
  listAlertChannels,
  maxAlertChannels,
  maxVerificationsOfHolder,
  maxVerificationsPerDay,
  queueForChannel,
} from './channels.ts'
import { leaseAlerts, listAlertDeliveries, pruneAlerts, queueAlertRepeats, recordAlertAttempt } from './deliveries.ts'
import { findAlertLink, putAlertLink } from './links.ts'
import { readAlertFacts } from './readAlertFacts.ts'
import { endBotLease, leaseBotUpdates, listAlertSenders, saveBotOffset, tellAlertSender } from './senders.ts'
import { startAlertChat, stopAlertChat } from './startAlertChat.ts'
import { activateAlertChannel, useAlertLink } from './useAlertLink.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date('2026-01-01T12:00:00.000Z')
const after = (seconds: number) => new Date(now.getTime() + seconds * 1_000)
const hourMs = 3_600_000
const newToken = () => randomBytes(32).toString('base64url')
const newAddress = () => `${randomHex(8)}@example.com`

/** A channel that is verified, and was told so. */
async function arrangeChannel(holder: Partial<AlertHolder>, leastSeverity: AlertChannel['leastSeverity'] = 'info') {
  const { db } = database
  const wanted = { merchantId: null, account: null, ...holder, leastSeverity, now, kind: 'email' } as const
  const channel = await createAlertChannel(db, { ...wanted, target: newAddress() })
  if (typeof channel === 'string') throw new Error(channel)
  expect(await activateAlertChannel(db, { id: channel.id, target: channel.target ?? '', now })).toBe(true)
  await drain(channel.id, now)
  return channel
}

/** Sends what is due to a channel, and says what that was. */
async function drain(channelId: string, at: Date): Promise<string[]> {
  const kinds: string[] = []
  for (let look = 0; look < 20; look++) {
    const owner = randomHex(8)
    const leased = await leaseAlerts(database.db, { kinds: ['email'], owner, now: at, leaseMs: 60_000, limit: 100 })
    if (leased.length === 0) return kinds
    for (const { delivery, channel } of leased) {
      if (channel.id === channelId) kinds.push(delivery.kind)
      await recordAlertAttempt(database.db, { delivery, owner, verdict: { state: 'delivered' }, now: at })
    }
  }
  throw new Error('There was always more to send.')
}

async function arrangeIncident(change: Partial<NewIncident> = {}) {
  const { seller, grant, finding } = await arrangeFinding(database.db, { now, ...change })
  const { grantId, account } = grant
  const open = () => openIncident(database.db, { ...finding, requestId: randomHex(12) })
  return { seller, grant, account, grantId, open }
}

async function told(channel: AlertChannel): Promise<string[]> {
  const { items } = await listAlertDeliveries(database.db, { channelId: channel.id })
  return items.filter(({ incidentId }) => incidentId !== null).map(({ kind }) => kind)
}

test('an incident is told once to its owner, the operator and the merchants whom the grant pays, and to nobody else', async () => {
  const { seller, account, open } = await arrangeIncident()
  const stranger = await arrangeMerchant(database.db)
  const channels = {
    owner: await arrangeChannel({ account }),
    operator: await arrangeChannel({}),
    merchant: await arrangeChannel({ merchantId: seller.merchant.id }),
    'another owner': await arrangeChannel({ account: randomAddress() }),
    'another merchant': await arrangeChannel({ merchantId: stranger.merchant.id }),
  }
  await Promise.all(Array.from({ length: 4 }, open))
  const counts = Object.fromEntries(
    await Promise.all(Object.entries(channels).map(async ([who, channel]) => [who, await told(channel)])),
  )
  expect(counts).toEqual({
    owner: ['opened'],
    operator: ['opened'],
    merchant: ['opened'],
    'another owner': [],
    'another merchant': [],
  })
  await deleteAlertChannel(database.db, channels.operator.id)
})

test('a channel is not told of what matters less than it wants, nor a merchant of what stops nothing', async () => {
  const { seller, account, open } = await arrangeIncident({ action: 'alert', severity: 'warning' })
  const critical = await arrangeChannel({ account }, 'critical')
  const warning = await arrangeChannel({ account }, 'warning')
  const merchant = await arrangeChannel({ merchantId: seller.merchant.id })
  await open()
  expect([await told(critical), await told(warning), await told(merchant)]).toEqual([[], ['opened'], []])
})

test("what a merchant's own rule found is told to that merchant, also where it only alerts, and to no other", async () => {
  const ruleId = `rul_${randomHex(16).slice(2)}`
  const { seller, account, grantId, open } = await arrangeIncident({ action: 'alert', ruleId })
  const another = await arrangeMerchant(database.db)
  await database.query(`insert into sentinel_rule (id, merchant_id, state, version) values ($1, $2, 'live', 1)`, [
    ruleId,
    seller.merchant.id,
  ])
  await database.query('update channel set merchant_id = $1 where grant_id = $2', [seller.merchant.id, grantId])
  await database.query(`insert into channel (grant_id, payee, merchant_id) values ($1, $2, $3)`, [
    grantId,
    another.merchant.payee.toLowerCase(),
    another.merchant.id,
  ])
  const [own, other, owner] = [
    await arrangeChannel({ merchantId: seller.merchant.id }),
    await arrangeChannel({ merchantId: another.merchant.id }),
    await arrangeChannel({ account }),
  ]
  const { incident } = await open()
  expect([await told(own), await told(other), await told(owner)]).toEqual([['opened'], [], ['opened']])
  const facts = await readAlertFacts(database.db, { incidentId: incident.id, merchantId: seller.merchant.id })
  expect(facts).toMatchObject({ ruleMerchantId: seller.merchant.id, stop: undefined })
})

test('the freeze and the revocation that follows are told, each once and as what it is', async () => {
  const { account, open } = await arrangeIncident()
  const channel = await arrangeChannel({ account })
  const { incident } = await open()
  const { id, grantId } = incident
  const end = async (at: Date) => {
    const [stop] = (await listOpenStops(database.db, 500)).filter((one) => one.incidentId === id)
    const proof = { txHash: randomHex(32), blockNumber: 7n, logIndex: 0, now: at }
    expect(await markStopConfirmed(database.db, { ...proof, id: stop?.id ?? '' })).toBe(true)
    await markRefused(database.db, { id: stop?.id ?? '', now: at })
  }
  await end(after(1))
  await recordDecision(database.db, { incidentId: id, decision: 'reject', actor: 'owner', now: after(2) })
  await stopRejected(database.db, { vouchers: { policy: 'hold', settleFirstMs: 0 }, now: after(3), limit: 500 })
  await end(after(4))
  expect(await drain(channel.id, after(10))).toEqual(['opened', 'stopped', 'acknowledged', 'stopped'])
  const kinds = []
  for (const stopNumber of [0, 1, undefined])
    kinds.push((await readAlertFacts(database.db, { incidentId: id, merchantId: null, stopNumber }))?.stop?.kind)
  expect(kinds).toEqual(['freeze', 'revoke', 'revoke'])
  expect((await listDecisions(database.db, { grantId })).map(({ decision }) => decision)).toEqual(['reject'])
})

test('who was told that it opened is told what became of it, in the order in which that happened', async () => {
  const { account, open } = await arrangeIncident()
  const channel = await arrangeChannel({ account })
  const { incident } = await open()
  const stop = await getStopOfIncident(database.db, incident.id)
  await markStopConfirmed(database.db, { id: stop?.id ?? '', txHash: randomHex(32), blockNumber: 7n, now: after(1) })
  await acknowledgeIncident(database.db, { id: incident.id, actor: 'operator', now: after(2) })
  expect(await drain(channel.id, after(10))).toEqual(['opened', 'stopped', 'acknowledged'])
  const late = await arrangeChannel({ account })
  await closeIncident(database.db, { id: incident.id, actor: 'operator', now: after(11) })
  expect(await drain(channel.id, after(12))).toEqual(['closed'])
  expect(await told(late)).toEqual([])
})

test('of several sentinels one sends a message, and another only after the lease of the first', async () => {
  const { account, open } = await arrangeIncident()
  const channel = await arrangeChannel({ account })
  await open()
  const lease = (owner: string, at: Date) =>
    leaseAlerts(database.db, { kinds: ['email'], owner, now: at, leaseMs: 60_000, limit: 100 }).then((leased) =>
      leased.filter((one) => one.channel.id === channel.id),
    )
  const together = (await Promise.all(Array.from({ length: 6 }, (_, n) => lease(`s${n}`, now)))).flat()
  expect(together).toHaveLength(1)
  expect(await lease('s7', after(59))).toEqual([])
  const [again] = await lease('s8', after(61))
  expect(again?.delivery.attempts).toBe(2)
  if (!again) throw new Error('nothing was leased')
  const verdict = { state: 'delivered' } as const
  const record = { delivery: again.delivery, verdict, now: after(62) }
  expect(await recordAlertAttempt(database.db, { ...record, owner: 's0' })).toBe(false)
  expect(await recordAlertAttempt(database.db, { ...record, owner: 's8' })).toBe(true)
  expect(await recordAlertAttempt(database.db, { ...record, owner: 's8' })).toBe(false)
})

test('what is tried again holds back what came later in its channel alone', async () => {
  const { account, open } = await arrangeIncident()
  const [first, second] = [await arrangeChannel({ account }), await arrangeChannel({ account })]
  const { incident } = await open()
  await acknowledgeIncident(database.db, { id: incident.id, actor: 'operator', now })
  const owner = randomHex(8)
  const leased = await leaseAlerts(database.db, { kinds: ['email'], owner, now, leaseMs: 60_000, limit: 100 })
  for (const { delivery, channel } of leased) {
    const error = '451 4.3.0 Try again later.'
    const verdict =
      channel.id === first.id
        ? ({ state: 'pending', nextAttemptAt: after(30), error } as const)
        : ({ state: 'delivered' } as const)
    await recordAlertAttempt(database.db, { delivery, owner, verdict, now })
  }
  expect(await drain(first.id, after(29))).toEqual([])
  expect(await told(second)).toEqual(['acknowledged', 'opened'])
  expect(await drain(first.id, after(31))).toEqual(['opened', 'acknowledged'])
})

test('nobody is reminded more than once in a period, more than so often, or of what was acknowledged', async () => {
  const { account, open } = await arrangeIncident()
  const channel = await arrangeChannel({ account })
  const { incident } = await open()
  const repeat = (at: Date) =>
    Promise.all(Array.from({ length: 3 }, () => queueAlertRepeats(database.db, { now: at, everyMs: hourMs, max: 2 })))
  await repeat(after(7_200))
  expect(await told(channel), 'before it was told that it opened').toEqual(['opened'])
  await drain(channel.id, after(10))
  await repeat(after(3_609))
  expect(await told(channel)).toEqual(['opened'])
  await repeat(after(3_610))
  await repeat(after(99_999))
  expect(await drain(channel.id, after(3_620))).toEqual(['repeated'])
  await repeat(after(7_219))
  await repeat(after(7_220))
  expect(await drain(channel.id, after(7_220))).toEqual(['repeated'])
  await repeat(after(99_999))
  expect(await told(channel)).toEqual(['repeated', 'repeated', 'opened'])

  const other = await arrangeIncident()
  const quiet = await arrangeChannel({ account: other.account })
  const { incident: seen } = await other.open()
  await drain(quiet.id, now)
  await acknowledgeIncident(database.db, { id: seen.id, actor: 'owner', now })
  await repeat(after(99_999))
  expect(await told(quiet)).toEqual(['acknowledged', 'opened'])
  await closeIncident(database.db, { id: incident.id, actor: 'operator', now })
})

test('a channel that takes nothing any more gets nothing any more', async () => {
  const { account, open } = await arrangeIncident()
  const channel = await arrangeChannel({ account })
  const { incident } = await open()
  await acknowledgeIncident(database.db, { id: incident.id, actor: 'operator', now })
  const owner = randomHex(8)
  const leased = await leaseAlerts(database.db, { kinds: ['email'], owner, now, leaseMs: 60_000, limit: 100 })
  const mine = leased.find((one) => one.channel.id === channel.id)
  if (!mine) throw new Error('nothing was leased')
  const verdict = { state: 'failed', error: '550 5.1.1\r\nNo such user here.', disable: 'refused' } as const
  expect(await recordAlertAttempt(database.db, { delivery: mine.delivery, owner, verdict, now })).toBe(true)
  expect(await getAlertChannel(database.db, channel.id)).toMatchObject({
    state: 'disabled',
    disabledReason: 'refused',
    disabledDetail: '550 5.1.1 No such user here.',
  })
  await closeIncident(database.db, { id: incident.id, actor: 'operator', now })
  const { items } = await listAlertDeliveries(database.db, { channelId: channel.id })
  expect(items.map(({ kind, state }) => `${kind} ${state}`)).toEqual([
    'acknowledged failed',
    'opened failed',
    'verified delivered',
    'verify delivered',
  ])
})

test('an unverified address gets what asks it and nothing else, and is asked a bounded number of times by all together', async () => {
  const { account, open } = await arrangeIncident()
  const target = newAddress()
  const create = (holder: AlertHolder, at: Date) =>
    createAlertChannel(database.db, { ...holder, kind: 'email', target, leastSeverity: 'info', now: at })
  const channel = await create({ merchantId: null, account }, now)
  if (typeof channel === 'string') throw new Error(channel)
  expect(await create({ merchantId: null, account }, now)).toBe('exists')
  await open()
  expect(await drain(channel.id, now)).toEqual(['verify'])
  const others = []
  for (let n = 0; n < maxVerificationsPerDay; n++)
    others.push(await create({ merchantId: null, account: randomAddress() }, after(n)))
  expect(others.filter((made) => made === 'asked')).toHaveLength(1)
  const shouted = { account: randomAddress(), merchantId: null, kind: 'email', leastSeverity: 'info' } as const
  const loud = createAlertChannel(database.db, { ...shouted, target: target.toUpperCase(), now: after(10) })
  expect(await loud).toBe('asked')
  expect(await create({ merchantId: null, account: randomAddress() }, after(86_401))).toMatchObject({ target })
})

test('a holder has a bounded number of addresses asked in a day, also when the channels are deleted again', async () => {
  const holder = { merchantId: null, account: randomAddress() }
  const wanted = { ...holder, kind: 'email', leastSeverity: 'info', now } as const
  const ask = async () => {
    const made = await createAlertChannel(database.db, { ...wanted, target: newAddress() })
    if (typeof made === 'string') return made
    await deleteAlertChannel(database.db, made.id)
    return 'made'
  }
  for (let n = 0; n < maxVerificationsOfHolder; n++) expect(await ask()).toBe('made')
  expect(await ask()).toBe('asked')
  expect(
    await createAlertChannel(database.db, { ...wanted, account: randomAddress(), target: newAddress() }),
  ).toMatchObject({ state: 'unverified' })
})

test('nobody has more channels than a bound, however many are made at once', async () => {
  const holder = { merchantId: null, account: randomAddress() }
  const made = await Promise.all(
    Array.from({ length: maxAlertChannels + 3 }, () =>
      createAlertChannel(database.db, { ...holder, kind: 'email', target: newAddress(), leastSeverity: 'info', now }),
    ),
  )
  expect(made.filter((one) => one === 'many')).toHaveLength(3)
})

type Linked = { incident: Incident; channel: AlertChannel; token: string; purpose: AlertLinkPurpose }

async function arrangeLink(purpose: AlertLinkPurpose, who: 'owner' | 'operator' | 'merchant' | 'stranger') {
  const { seller, account, open } = await arrangeIncident()
  const holders = {
    owner: { account },
    operator: {},
    merchant: { merchantId: seller.merchant.id },
    stranger: { account: randomAddress() },
  }
  const channel = await arrangeChannel(holders[who])
  const { incident } = await open()
  const token = newToken()
  const link = { channelId: channel.id, deliveryId: null, purpose, token, now, expiresAt: after(60) }
  await putAlertLink(database.db, { ...link, incidentId: incident.id })
  return { incident, channel, token, purpose } satisfies Linked
}

const stateOf = async ({ incident }: Linked) =>
  (await listIncidents(database.db, { grantId: incident.grantId })).items[0]?.state

test('of all who use a link at once one does what it is for, and it is audited', async () => {
  const linked = await arrangeLink('confirm', 'owner')
  const { token, incident, channel } = linked
  const uses = await Promise.all(Array.from({ length: 6 }, () => useAlertLink(database.db, { token, now })))
  expect(uses.filter(({ state }) => state === 'done')).toMatchObject([{ outcome: 'recorded' }])
  expect(uses.filter(({ state }) => state === 'used')).toHaveLength(5)
  const actor = ownerActor(incident.account)
  expect(await listDecisions(database.db, { incidentId: incident.id })).toMatchObject([{ decision: 'confirm', actor }])
  const { items } = await listAudit(database.db, { subject: incident.id })
  expect(items).toMatchObject([{ actor, action: 'alert_link_confirm', after: { channelId: channel.id } }])
  expect(await stateOf(linked)).toBe('acknowledged')
})

test('a link that has expired, is forged or of a deleted channel changes nothing', async () => {
  const linked = await arrangeLink('acknowledge', 'owner')
  const { token, channel } = linked
  expect(await useAlertLink(database.db, { token, now: after(60) })).toMatchObject({ state: 'expired' })
  for (const forged of ['', newToken(), `${token}x`, token.toLowerCase()])
    expect(await useAlertLink(database.db, { token: forged, now })).toEqual({ state: 'unknown' })
  expect(await stateOf(linked)).toBe('open')
  await deleteAlertChannel(database.db, channel.id)
  expect(await useAlertLink(database.db, { token, now })).toEqual({ state: 'unknown' })
  const stored = JSON.stringify(await database.query('select * from alert_link'))
  expect(stored).not.toContain(token)
})

test('only a channel of the owner of the account decides, and a merchant acknowledges for themselves alone', async () => {
  for (const who of ['operator', 'merchant', 'stranger'] as const) {
    const { token, incident } = await arrangeLink('reject', who)
    expect(await useAlertLink(database.db, { token, now }), who).toMatchObject({ outcome: 'unknown' })
    expect(await listDecisions(database.db, { incidentId: incident.id })).toEqual([])
  }
  const linked = await arrangeLink('acknowledge', 'merchant')
  expect(await useAlertLink(database.db, { token: linked.token, now })).toMatchObject({ outcome: true })
  expect(await stateOf(linked)).toBe('open')
  expect(await drain(linked.channel.id, now)).toEqual(['opened'])
  await queueAlertRepeats(database.db, { now: after(9_999), everyMs: hourMs, max: 5 })
  expect(await told(linked.channel)).toEqual(['opened'])
})

test('a message that is tried again carries the links it had, and a used one stays used', async () => {
  const { account, open } = await arrangeIncident()
  const channel = await arrangeChannel({ account })
  const { incident } = await open()
  const { items } = await listAlertDeliveries(database.db, { channelId: channel.id })
  const deliveryId = items.find(({ kind }) => kind === 'opened')?.id ?? null
  const [first, second] = [newToken(), newToken()]
  const link = { channelId: channel.id, deliveryId, incidentId: incident.id, purpose: 'acknowledge' } as const
  await putAlertLink(database.db, { ...link, token: first, now, expiresAt: after(60) })
  await putAlertLink(database.db, { ...link, token: second, now, expiresAt: after(90) })
  const find = (token: string) => findAlertLink(database.db, { token, purposes: ['acknowledge'], now: after(70) })
  expect(await find(first)).toBeUndefined()
  expect(await find(second)).toMatchObject({ state: 'open' })
  await useAlertLink(database.db, { token: second, now: after(70) })
  await putAlertLink(database.db, { ...link, token: first, now, expiresAt: after(900) })
  expect(await find(first)).toBeUndefined()
  expect(await find(second)).toMatchObject({ state: 'used' })
})

test('a chat becomes a channel by its token, once, and every channel of a chat ends with it', async () => {
  const account = randomAddress()
  const chatId = `${Math.floor(Math.random() * 1e9)}`
  const make = async () => {
    const startToken = newToken()
    const wanted = { merchantId: null, account, kind: 'telegram', leastSeverity: 'info', startToken } as const
    const channel = await createAlertChannel(database.db, { ...wanted, expiresAt: after(60), now })
    if (typeof channel === 'string') throw new Error(channel)
    return { channel, token: startToken }
  }
  const start = (token: string, at = now) => startAlertChat(database.db, { token, chatId, now: at })
  const [one, two] = [await make(), await make()]
  expect(await useAlertLink(database.db, { token: one.token, now }), 'not by a page').toEqual({ state: 'unknown' })
  expect(await start(one.token, after(60))).toBe('expired')
  expect(await start(one.token)).toBe('started')
  expect(await start(one.token)).toBe('used')
  expect(await start(two.token)).toBe('taken')
  expect(await start(newToken())).toBe('unknown')
  expect(await getAlertChannel(database.db, one.channel.id)).toMatchObject({ state: 'active', target: chatId })
  expect(await stopAlertChat(database.db, { chatId, reason: 'stopped', now })).toBe(1)
  expect(await stopAlertChat(database.db, { chatId, reason: 'stopped', now })).toBe(0)
  const { items } = await listAlertChannels(database.db)
  expect(items.find(({ id }) => id === one.channel.id)).toMatchObject({ disabledReason: 'stopped' })
})

test('one process at a time listens to the bot, and what was seen to does not come again', async () => {
  const { db } = database
  const lease = (poller: string, at = now) => leaseBotUpdates(db, { poller, now: at, leaseMs: 60_000 })
  expect(await lease('a')).toBeUndefined()
  await tellAlertSender(db, { kind: 'telegram', configured: true, sender: 'stream_bot', now })
  await tellAlertSender(db, { kind: 'telegram', configured: true, sender: null, now })
  expect(await listAlertSenders(db)).toEqual([{ kind: 'telegram', configured: true, sender: 'stream_bot' }])
  expect(await lease('a')).toEqual({ offset: 0 })
  expect(await lease('b')).toBeUndefined()
  await saveBotOffset(db, { poller: 'a', offset: 7 })
  await saveBotOffset(db, { poller: 'b', offset: 99 })
  await saveBotOffset(db, { poller: 'a', offset: 3 })
  expect(await lease('b', after(60))).toEqual({ offset: 7 })
  await endBotLease(db, 'a')
  expect(await lease('a', after(61))).toBeUndefined()
  await endBotLease(db, 'b')
  expect(await lease('a', after(61))).toEqual({ offset: 7 })
})

test('a message says what is owed to whom it is for, and what is at risk', async () => {
  const { seller, grant, open } = await arrangeIncident()
  const { incident } = await open()
  const charge = { amount: 5n, cumulativeAmount: 5n, occurredAtMs: Date.now() }
  await appendCharges(database.db, [chargeEvent(grant, seller, charge)])
  const about = (merchantId: string | null) => readAlertFacts(database.db, { incidentId: incident.id, merchantId })
  expect(await about(null)).toMatchObject({
    incident: { id: incident.id },
    stop: { kind: 'freeze', chainState: 'due' },
    sessionKey: expect.stringMatching(/^0x/),
    owed: 5n,
    atRisk: grant.terms.totalLimit - 5n,
    decisions: [],
  })
  expect(await about(seller.merchant.id)).toMatchObject({ owed: 5n })
  expect(await about('mer_other')).toMatchObject({ owed: 0n })
  expect(await readAlertFacts(database.db, { incidentId: 'inc_none', merchantId: null })).toBeUndefined()
})

test('what says nothing any more is forgotten', async () => {
  const { db } = database
  const wanted = { merchantId: null, account: randomAddress(), kind: 'email', leastSeverity: 'info', now } as const
  const unverified = await createAlertChannel(db, { ...wanted, target: newAddress() })
  const kept = await arrangeChannel({ account: wanted.account })
  await queueForChannel(db, kept, 'test', now)
  if (typeof unverified === 'string') throw new Error(unverified)
  expect(await pruneAlerts(db, { now: after(8 * 86_400), limit: 1_000 })).toBeGreaterThan(0)
  expect(await getAlertChannel(db, unverified.id)).toBeUndefined()
  expect(await getAlertChannel(db, kept.id)).toMatchObject({ state: 'active' })
  expect(await database.query('select 1 from alert_verification')).toEqual([])
})
