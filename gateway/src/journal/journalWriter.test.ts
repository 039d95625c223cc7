import { randomUUID } from 'node:crypto'
import { appendCharges, createDb, type Db, listUsageQuarantine, loadAccountState } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { createMeter } from '../meter/createMeter.ts'
import type { Meter, Use } from '../meter/meter.ts'
import { createJournal, type Journal } from './createJournal.ts'
import { createJournalWriter } from './journalWriter.ts'
import {
  type Buyer,
  buy,
  createBuyer,
  createSeller,
  hashVoucher,
  journalled,
  nextUse,
  type Seller,
  token,
} from './testing/buyer.ts'

const logger = pino({ level: 'silent' })
let database: TestDatabase
let seller: Seller

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  seller = await createSeller(database.db)
})
afterAll(() => database.drop())

describe.each(['embedded', 'redis'] as const)('with the %s meter', (kind) => {
  let meter: Meter
  beforeAll(async () => {
    meter = createMeter({
      redisUrl: kind === 'redis' ? inject('redisUrl') : undefined,
      keyPrefix: `journal-${randomUUID()}:`,
      instance: 'gateway-1',
      clock: Date.now,
    })
    await meter.ping()
  })
  afterAll(() => meter.close())

  test('every charge is journalled once, over all partitions, and added to its channel', async () => {
    const grants = await Promise.all(Array.from({ length: 20 }, () => createGrant(meter)))
    for (const grant of grants) for (let count = 0; count < 3; count++) await charge(meter, grant)
    const writer = createJournalWriter({ journal: journalOf(meter), meter, clock: Date.now, logger, batchSize: 2 })
    await drained(writer.drain, 60)
    for (const grant of grants) {
      expect(await booksOf(grant)).toEqual({ calls: 3, charged: 30_000n, channel: 30_000n })
    }
    expect(await writer.drain()).toBe(0)
  })

  test('two writers at once journal every charge once', async () => {
    const grant = await createGrant(meter)
    for (let count = 0; count < 30; count++) await charge(meter, grant)
    const writers = Array.from({ length: 2 }, () =>
      createJournalWriter({ journal: journalOf(meter), meter, clock: Date.now, logger, batchSize: 7 }),
    )
    await expect
      .poll(async () => {
        await Promise.all(writers.map((writer) => writer.drain()))
        return booksOf(grant)
      })
      .toEqual({ calls: 30, charged: 300_000n, channel: 300_000n })
  })

  test('a crash between journalling and acknowledging repeats nothing', async () => {
    const grant = await createGrant(meter)
    for (let count = 0; count < 5; count++) await charge(meter, grant)
    const crashing: Meter = {
      ...meter,
      acknowledge: () => Promise.reject(new Error('the process died here')),
    }
    const first = createJournalWriter({ journal: journalOf(meter), meter: crashing, clock: Date.now, logger })
    await expect
      .poll(async () => {
        const outcome = await first.drain().catch((error: Error) => error.message)
        return { outcome, ...(await booksOf(grant)) }
      })
      .toEqual({ outcome: 'the process died here', calls: 5, charged: 50_000n, channel: 50_000n })
    await drained(createJournalWriter({ journal: journalOf(meter), meter, clock: Date.now, logger }).drain, 5)
    expect(await booksOf(grant)).toEqual({ calls: 5, charged: 50_000n, channel: 50_000n })
  })

  test('a crash before journalling loses nothing', async () => {
    const grant = await createGrant(meter)
    await charge(meter, grant)
    // Nothing listens on port 1.
    const gone = createDb({ url: 'postgres://nobody@127.0.0.1:1/nothing', onError: () => {} })
    const failing = createJournalWriter({ journal: journalOf(meter, { db: gone }), meter, clock: Date.now, logger })
    await expect.poll(() => failing.drain().then(String, () => 'failed')).toBe('failed')
    await gone.close()
    await drained(createJournalWriter({ journal: journalOf(meter), meter, clock: Date.now, logger }).drain, 1)
    expect(await booksOf(grant)).toEqual({ calls: 1, charged: 10_000n, channel: 10_000n })
  })

  test('runs until it is stopped, through lost connections to Postgres, and drains at the end', async () => {
    const grant = await createGrant(meter)
    const db = createDb({ url: database.url, maxConnections: 4, onError: () => {} })
    const stop = new AbortController()
    const running = createJournalWriter({
      journal: journalOf(meter, { db }),
      meter,
      clock: Date.now,
      logger,
      idleMs: 5,
    }).run(stop.signal)
    for (let count = 0; count < 40; count++) {
      await charge(meter, grant)
      if (count % 10 === 5) {
        // What a restart of Postgres does to its clients; over when it answers.
        await database.query(
          `select pg_terminate_backend(pid, 30000) from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid() and usename = current_user
             and application_name = 'protocolbanks-stream'`,
        )
      }
    }
    await expect.poll(() => booksOf(grant)).toMatchObject({ calls: 40 })
    await charge(meter, grant)
    if (kind === 'redis') await expect.poll(() => booksOf(grant)).toMatchObject({ calls: 41 })
    stop.abort()
    await running
    expect(await booksOf(grant)).toEqual({ calls: 41, charged: 410_000n, channel: 410_000n })
    await db.close()
  })
})

test('a charge that Postgres can never take goes into quarantine alone, and is counted', async () => {
  const meter = createMeter({ instance: 'gateway-1', clock: Date.now })
  const grant = await createGrant(meter)
  await charge(meter, grant)
  // Postgres has no text with a zero byte.
  await charge(meter, grant, { fingerprint: 'f\0' })
  await charge(meter, grant)
  const metrics = new Registry()
  const journal = journalOf(meter, { metrics })
  const writer = createJournalWriter({ journal, meter, clock: Date.now, logger })
  expect(await writer.drain()).toBe(3)
  expect(await booksOf(grant)).toMatchObject({ calls: 2 })
  const text = await metrics.metrics()
  expect(text).toMatch(/gateway_usage_quarantined_total{reason="rejected"} 1/)
  expect(text).toMatch(/gateway_journal_charges_total 2/)
  const [aside] = (await listUsageQuarantine(database.db, { reason: 'rejected' })).items
  expect(aside?.event).toMatchObject({ grantId: grant.grantId, fingerprint: 'f\0', amount: '10000' })
  await meter.close()
})

test('the lag is the age of the oldest charge that waits', async () => {
  let nowMs = Date.now()
  const meter = createMeter({ instance: 'gateway-1', clock: () => nowMs })
  const grant = await createGrant(meter)
  await charge(meter, grant)
  const metrics = new Registry()
  const gone: Db = createDb({ url: 'postgres://nobody@127.0.0.1:1/nothing', onError: () => {} })
  const failing = createJournalWriter({
    journal: journalOf(meter, { db: gone }),
    meter,
    clock: () => nowMs,
    logger,
    metrics,
  })
  await expect(failing.drain()).rejects.toThrow()
  nowMs += 42_000
  expect(await metrics.metrics()).toMatch(/gateway_journal_lag_seconds 42(\.\d+)?\n/)
  await gone.close()
  await meter.close()
})

test('the journal takes the same charge once, whoever brings it', async () => {
  const meter = createMeter({ instance: 'gateway-1', clock: Date.now })
  const grant = await createGrant(meter)
  await charge(meter, grant)
  const usage = (await Promise.all(Array.from({ length: 16 }, (_, partition) => meter.readUsage(partition, 10)))).flat()
  const charges = usage.map(({ record, ...event }) => ({
    ...event,
    merchantId: record.merchant,
    serviceId: record.service,
    signature: record.signature,
  }))
  expect(await appendCharges(database.db, charges)).toBe(1)
  expect(await createJournalWriter({ journal: journalOf(meter), meter, clock: Date.now, logger }).drain()).toBe(1)
  expect(await booksOf(grant)).toEqual({ calls: 1, charged: 10_000n, channel: 10_000n })
  await meter.close()
})

/** A grant whose account the meter knows. */
async function createGrant(meter: Meter): Promise<Buyer> {
  const buyer = await createBuyer(database.db, seller)
  const state = await loadAccountState(database.db, buyer.account, token)
  if (!state) throw new Error('The account is not there.')
  await meter.mirror(state)
  return buyer
}

async function charge(meter: Meter, buyer: Buyer, change: Partial<Use> = {}): Promise<void> {
  await buy(meter, nextUse(buyer, seller, change))
}

const booksOf = (buyer: Buyer) => journalled(database.db, buyer, seller)

function journalOf(meter: Meter, { db = database.db, metrics }: { db?: Db; metrics?: Registry } = {}): Journal {
  const ownUsage = (eventId: string) => meter.ownUsage?.(eventId)
  return createJournal({ db, clock: Date.now, logger, hashVoucher, ownUsage, metrics })
}

/** Drains until so many events have left the meter; on Redis an event is readable a moment after it was served. */
async function drained(drain: () => Promise<number>, count: number): Promise<void> {
  let total = 0
  await expect
    .poll(async () => {
      total += await drain()
      return total
    })
    .toBe(count)
}
