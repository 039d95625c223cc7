import { randomUUID } from 'node:crypto'
import {
  claimOutbox,
  listAudit,
  listUsageQuarantine,
  loadAccountState,
  usageQuarantinedTopic,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type Hex, signVoucher } from '@protocolbanks/stream-protocol'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { createMeter } from '../meter/createMeter.ts'
import type { Meter, UsageEvent } from '../meter/meter.ts'
import { partitionOf } from '../meter/partitionOf.ts'
import { removeKeys } from '../meter/testing/removeKeys.ts'
import { createJournal, type Journal } from './createJournal.ts'
import { createJournalWriter, type JournalWriter } from './journalWriter.ts'
import {
  type Buyer,
  buy,
  createBuyer,
  createSeller,
  hashVoucher,
  journalled,
  nextUse,
  randomHex,
  type Seller,
  token,
} from './testing/buyer.ts'

// Somebody can write into the meter's Redis. Each test puts into its stream what they might.

const logger = pino({ level: 'silent' })
const keyPrefix = `test-${randomUUID()}:`
const amount = 10_000n
let database: TestDatabase
let seller: Seller
let redis: Redis
let meter: Meter
let journal: Journal
let writer: JournalWriter
let metrics: Registry
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  seller = await createSeller(database.db)
  redis = new Redis(inject('redisUrl'))
  meter = createMeter({ redisUrl: inject('redisUrl'), keyPrefix, instance: randomUUID(), clock: Date.now })
  await meter.ping()
})
beforeEach(() => {
  metrics = new Registry()
  // The journal of another process: it remembers nothing of the charges.
  journal = createJournal({ db: database.db, clock: Date.now, logger, hashVoucher, metrics })
  writer = createJournalWriter({ journal, meter, clock: Date.now, logger })
})
afterAll(async () => {
  await meter?.close()
  redis?.disconnect()
  await removeKeys(inject('redisUrl'), keyPrefix)
  await database?.drop()
})

type Fields = { amount: string; cumulative: string; signature: string; use: string }
const streamOf = (buyer: Buyer) => `${keyPrefix}{p${partitionOf(buyer.account)}}:usage`

async function openBuyer(): Promise<Buyer> {
  const buyer = await createBuyer(database.db, seller)
  const state = await loadAccountState(database.db, buyer.account, token)
  if (!state) throw new Error('The account is not there.')
  await meter.mirror(state)
  return buyer
}

/** An entry as the meter would have made it for the buyer's next call, but for what is changed. */
function forge(buyer: Buyer, change: Partial<Fields> = {}, use: Record<string, unknown> = {}): Fields {
  const { account, grantId, payee, requestId, fingerprint, cumulativeAmount, event } = nextUse(buyer, seller)
  const { signature, ...record } = event
  return {
    amount: amount.toString(),
    cumulative: cumulativeAmount.toString(),
    signature,
    use: JSON.stringify({ account, grantId, payee, requestId, fingerprint, record, ...use }),
    ...change,
  }
}

async function add(buyer: Buyer, fields: Fields | Record<string, string>, id = '*'): Promise<string> {
  return (await redis.xadd(streamOf(buyer), id, ...Object.entries(fields).flat())) ?? ''
}

/** What the journal says of an entry after everything was read. */
async function reasonOf(buyer: Buyer, streamId: string): Promise<string | undefined> {
  const eventId = `p${partitionOf(buyer.account)}-${streamId}`
  // Younger than the mark of the living process it is not read yet.
  await expect
    .poll(async () => {
      await writer.drain()
      return redis.xlen(streamOf(buyer))
    })
    .toBe(0)
  return (await listUsageQuarantine(database.db, { limit: 200 })).items.find((one) => one.eventId === eventId)?.reason
}

test('an event as the meter makes it becomes a charge', async () => {
  const buyer = await openBuyer()
  expect(await reasonOf(buyer, await add(buyer, forge(buyer)))).toBeUndefined()
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 1, charged: amount, channel: amount })
})

test('a partition of the journal that somebody removed is made again, and no charge goes aside for it', async () => {
  const buyer = await openBuyer()
  await reasonOf(buyer, await add(buyer, forge(buyer)))
  // With what was in it: a journal without a partition for today.
  const month = new Date().toISOString().slice(0, 7).replace('-', '_')
  await database.query(`drop table charge_${month}`)
  expect(await reasonOf(buyer, await add(buyer, forge(buyer)))).toBeUndefined()
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 1, charged: amount, channel: 2n * amount })
})

test('what is no usage event goes aside, and what is waits behind it for nothing', async () => {
  const buyer = await openBuyer()
  const ids = [
    await add(buyer, { what: 'ever' }),
    await add(buyer, forge(buyer, { use: '{' })),
    await add(buyer, forge(buyer, { use: '{}' })),
    await add(buyer, forge(buyer, { amount: '-1' })),
    await add(buyer, forge(buyer, { amount: `1${'0'.repeat(30)}` })),
    await add(buyer, forge(buyer, { signature: 'yes' })),
    await add(buyer, forge(buyer, {}, { account: 'me' })),
  ]
  const good = await add(buyer, forge(buyer))
  for (const id of ids) expect(await reasonOf(buyer, id)).toBe('malformed')
  expect(await reasonOf(buyer, good)).toBeUndefined()
  expect(await journalled(database.db, buyer, seller)).toMatchObject({ calls: 1 })
})

const other = randomHex(20)
const forgeries: [what: string, reason: string, make: (buyer: Buyer) => Promise<Fields>][] = [
  ['a grant that nobody knows', 'grant_unknown', async (buyer) => forge(buyer, {}, { grantId: randomHex(32) })],
  ['the account of another', 'account_mismatch', async (buyer) => forge(buyer, {}, { account: await sameSlot(buyer) })],
  ['a payee who is not the merchant’s', 'payee_mismatch', async (buyer) => forge(buyer, {}, { payee: other })],
  [
    'a service that does not exist',
    'service_unknown',
    async (buyer) => forge(buyer, {}, { record: { service: 'svc_none', merchant: seller.merchant.id } }),
  ],
  [
    'the service of another merchant',
    'merchant_mismatch',
    async (buyer) => forge(buyer, {}, { record: { service: seller.service.id, merchant: 'mer_other' } }),
  ],
  [
    'a signature of somebody else',
    'signature_invalid',
    async (buyer) => forge(buyer, { signature: signed(buyer, randomHex(32)) }),
  ],
  ['no signature at all', 'signature_invalid', async (buyer) => forge(buyer, { signature: randomHex(65) })],
  [
    'a higher amount than the voucher was signed over',
    'signature_invalid',
    async (buyer) => forge(buyer, { cumulative: '999999999' }),
  ],
  [
    'more than its voucher covers',
    'voucher_exceeded',
    async (buyer) => forge(buyer, { amount: (2n * amount).toString() }),
  ],
]

test.each(forgeries)('an event with %s is refused, audited, told and changes nothing', async (_, reason, make) => {
  const buyer = await openBuyer()
  const id = await add(buyer, await make(buyer))
  expect(await reasonOf(buyer, id)).toBe(reason)
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 0, charged: 0n, channel: 0n })
  const subject = `p${partitionOf(buyer.account)}-${id}`
  expect((await listAudit(database.db, { subject })).items).toMatchObject([
    { actor: 'journal', action: 'usage_append', outcome: 'refused', errorCode: `usage.${reason}` },
  ])
  expect(await metrics.metrics()).toContain(`gateway_usage_quarantined_total{reason="${reason}"} 1`)
  const told = await claimOutbox(database.db, {
    limit: 100,
    leaseMs: 1,
    now: new Date(),
    topics: [usageQuarantinedTopic],
  })
  expect(told.map(({ payload }) => payload.firstEventId)).toContain(subject)
})

test('a voucher that covers one charge does not cover two', async () => {
  const buyer = await openBuyer()
  const first = forge(buyer)
  const use = JSON.parse(first.use)
  const ids = [
    await add(buyer, first),
    await add(buyer, { ...first, use: JSON.stringify({ ...use, requestId: randomHex(16) }) }),
  ]
  expect(await Promise.all(ids.map((id) => reasonOf(buyer, id)))).toEqual([undefined, 'voucher_exceeded'])
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 1, charged: amount, channel: amount })
})

test('copies of an event are refused, beside it and after it was journalled, soon and late, in any order', async () => {
  const buyer = await openBuyer()
  for (let count = 0; count < 5; count++) await buy(meter, nextUse(buyer, seller))
  const originals = await redis.xrange(streamOf(buyer), '-', '+')
  const fieldsOf = (entry: [string, string[]] | undefined): string[] => entry?.[1] ?? []
  const copies: string[] = []
  for (const entry of originals.toReversed())
    copies.push((await redis.xadd(streamOf(buyer), '*', ...fieldsOf(entry))) ?? '')
  for (const copy of copies) expect(await reasonOf(buyer, copy)).toBe('duplicate')
  copies.push((await redis.xadd(streamOf(buyer), '*', ...fieldsOf(originals[2]))) ?? '')
  expect(await reasonOf(buyer, copies.at(-1) ?? '')).toBe('duplicate')
  // A day after its request id may have been used again; what its voucher allows is charged by then.
  await database.query(
    `update charge set occurred_at = occurred_at - interval '1 day' where grant_id = '${buyer.grantId}'`,
  )
  copies.push((await redis.xadd(streamOf(buyer), '*', ...fieldsOf(originals[0]))) ?? '')
  expect(await reasonOf(buyer, copies.at(-1) ?? '')).toBe('voucher_exceeded')
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 5, charged: 5n * amount, channel: 5n * amount })
})

test('a request id that is used again after the meter has forgotten it is another charge, also with the same voucher', async () => {
  const buyer = await openBuyer()
  // Its voucher is ahead of what is charged.
  buyer.cumulativeAmount = 9n * amount
  const nowMs = Date.now()
  const event = eventOf(buyer, 'p0-first', nowMs - 601_000)
  const soon = { ...event, eventId: 'p0-soon', occurredAtMs: nowMs - 12_000 }
  const later = { ...event, eventId: 'p0-later', occurredAtMs: nowMs }
  expect(await journal.take(0, [event])).toEqual({ appended: 1, quarantined: 0 })
  expect(await journal.take(0, [soon])).toEqual({ appended: 0, quarantined: 1 })
  expect(await journal.take(0, [later])).toEqual({ appended: 1, quarantined: 0 })
})

test('events of another time are refused', async () => {
  const buyer = await openBuyer()
  const events = [
    eventOf(buyer, 'p0-ahead', Date.now() + 2 * 3_600_000),
    eventOf(buyer, 'p0-behind', Date.now() - 31 * 86_400_000),
  ]
  expect(await journal.take(0, events)).toEqual({ appended: 0, quarantined: 2 })
  const { items } = await listUsageQuarantine(database.db)
  expect(
    items
      .slice(0, 2)
      .map(({ eventId, reason }) => [eventId, reason])
      .toSorted(),
  ).toEqual([
    ['p0-ahead', 'future'],
    ['p0-behind', 'stale'],
  ])
})

test('what this process charged itself is journalled as it remembers it, whatever the stream says', async () => {
  const buyer = await openBuyer()
  const own = eventOf(buyer, 'p0-own', Date.now())
  const remembering = createJournal({
    db: database.db,
    clock: Date.now,
    logger,
    hashVoucher,
    ownUsage: (eventId) => (eventId === own.eventId ? own : undefined),
  })
  const altered = { ...own, amount: 1n, record: { ...own.record, merchant: 'mer_other' } }
  expect(await remembering.take(0, [altered])).toEqual({ appended: 1, quarantined: 1 })
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 1, charged: amount, channel: amount })
  const [aside] = (await listUsageQuarantine(database.db, { reason: 'altered' })).items
  expect(aside).toMatchObject({ eventId: 'p0-own:altered', event: { amount: '1' } })
})

test('the same event in the hands of two writers and again after both is journalled once, and no copy', async () => {
  const buyer = await openBuyer()
  const events = Array.from({ length: 20 }, (_, index) => eventOf(buyer, `p0-twice-${index}`, Date.now()))
  const again = createJournal({ db: database.db, clock: Date.now, logger, hashVoucher })
  const results = await Promise.all([journal.record(0, events), again.record(0, events)])
  expect(results.map(({ appended }) => appended).toSorted()).toEqual([0, 20])
  expect(await journal.take(0, events)).toEqual({ appended: 0, quarantined: 0 })
  const charged = 20n * amount
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 20, charged, channel: charged })
})

function eventOf(buyer: Buyer, eventId: string, occurredAtMs: number): UsageEvent {
  const { account, grantId, payee, requestId, fingerprint, cumulativeAmount, event } = nextUse(buyer, seller)
  const record = { ...event }
  return {
    eventId,
    partition: 0,
    account,
    grantId,
    payee,
    requestId,
    fingerprint,
    amount,
    cumulativeAmount,
    occurredAtMs,
    record,
  }
}

/** Of the buyer's newest voucher, by this key. */
function signed({ grantId, cumulativeAmount }: Buyer, key: Hex): Hex {
  return signVoucher(hashVoucher, key, { grantId, payee: seller.merchant.payee, cumulativeAmount }).signature
}

/** Another account that is metered in the same partition. */
async function sameSlot(buyer: Buyer) {
  for (;;) {
    const { account } = await createBuyer(database.db, seller)
    if (partitionOf(account) === partitionOf(buyer.account)) return account
  }
}
