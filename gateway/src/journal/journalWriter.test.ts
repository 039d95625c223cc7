import { randomBytes } from 'node:crypto'
import { appendCharges, createDb, createMerchant, type Db, getChannel, listCharges } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { getAddress } from 'viem'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { createMeter } from '../meter/createMeter.ts'
import type { Meter } from '../meter/meter.ts'
import { createJournalWriter } from './journalWriter.ts'

const logger = pino({ level: 'silent' })
const token = randomAddress()
let database: TestDatabase
let merchant: { id: string; payee: Address }

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  merchant = await createMerchant(database.db, { name: 'Weather Inc', payee: randomAddress() })
})
afterAll(() => database.drop())

describe.each(['embedded', 'redis'] as const)('with the %s meter', (kind) => {
  let meter: Meter
  beforeAll(async () => {
    meter = createMeter({
      redisUrl: kind === 'redis' ? inject('redisUrl') : undefined,
      keyPrefix: `journal-${randomHex(6)}:`,
      instance: 'gateway-1',
      clock: Date.now,
    })
    await meter.ping()
  })
  afterAll(() => meter.close())

  test('every charge is journalled once, over all partitions, and added to its channel', async () => {
    const grants = await Promise.all(Array.from({ length: 20 }, () => createGrant(meter)))
    for (const grant of grants) for (let count = 0; count < 3; count++) await charge(meter, grant)
    const writer = createJournalWriter({ db: database.db, meter, clock: Date.now, logger, batchSize: 2 })
    await drained(writer.drain, 60)
    for (const grant of grants) {
      expect(await journalled(grant)).toEqual({ calls: 3, charged: 30_000n, channel: 30_000n })
    }
    expect(await writer.drain()).toBe(0)
  })

  test('two writers at once journal every charge once', async () => {
    const grant = await createGrant(meter)
    for (let count = 0; count < 30; count++) await charge(meter, grant)
    const writers = Array.from({ length: 2 }, () =>
      createJournalWriter({ db: database.db, meter, clock: Date.now, logger, batchSize: 7 }),
    )
    await expect
      .poll(async () => {
        await Promise.all(writers.map((writer) => writer.drain()))
        return journalled(grant)
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
    const first = createJournalWriter({ db: database.db, meter: crashing, clock: Date.now, logger })
    await expect
      .poll(async () => {
        const outcome = await first.drain().catch((error: Error) => error.message)
        return { outcome, ...(await journalled(grant)) }
      })
      .toEqual({ outcome: 'the process died here', calls: 5, charged: 50_000n, channel: 50_000n })
    await drained(createJournalWriter({ db: database.db, meter, clock: Date.now, logger }).drain, 5)
    expect(await journalled(grant)).toEqual({ calls: 5, charged: 50_000n, channel: 50_000n })
  })

  test('a crash before journalling loses nothing', async () => {
    const grant = await createGrant(meter)
    await charge(meter, grant)
    // Nothing listens on port 1.
    const gone = createDb({ url: 'postgres://nobody@127.0.0.1:1/nothing', onError: () => {} })
    const failing = createJournalWriter({ db: gone, meter, clock: Date.now, logger })
    await expect.poll(() => failing.drain().then(String, () => 'failed')).toBe('failed')
    await gone.close()
    await drained(createJournalWriter({ db: database.db, meter, clock: Date.now, logger }).drain, 1)
    expect(await journalled(grant)).toEqual({ calls: 1, charged: 10_000n, channel: 10_000n })
  })

  test('runs until it is stopped, through lost connections to Postgres, and drains at the end', async () => {
    const grant = await createGrant(meter)
    const db = createDb({ url: database.url, maxConnections: 4, onError: () => {} })
    const stop = new AbortController()
    const running = createJournalWriter({ db, meter, clock: Date.now, logger, idleMs: 5 }).run(stop.signal)
    for (let count = 0; count < 40; count++) {
      await charge(meter, grant)
      if (count % 10 === 5) {
        // What a restart of Postgres does to its clients.
        await database.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid() and usename = current_user
             and application_name = 'protocolbanks-stream'`,
        )
      }
    }
    await expect.poll(() => journalled(grant), { timeout: 10_000 }).toMatchObject({ calls: 40 })
    await charge(meter, grant)
    if (kind === 'redis') await expect.poll(() => journalled(grant)).toMatchObject({ calls: 41 })
    stop.abort()
    await running
    expect(await journalled(grant)).toEqual({ calls: 41, charged: 410_000n, channel: 410_000n })
    await db.close()
  })
})

test('a charge that the journal can never take stays behind alone, and is counted', async () => {
  const meter = createMeter({ instance: 'gateway-1', clock: Date.now })
  const grant = await createGrant(meter)
  await charge(meter, grant)
  // Postgres has no text with a zero byte.
  await charge(meter, grant, { fingerprint: 'f\0' })
  await charge(meter, grant)
  const metrics = new Registry()
  const writer = createJournalWriter({ db: database.db, meter, clock: Date.now, logger, metrics })
  expect(await writer.drain()).toBe(2)
  expect(await journalled(grant)).toMatchObject({ calls: 2 })
  const text = await metrics.metrics()
  expect(text).toMatch(/gateway_journal_refused_total [1-9]/)
  expect(text).toMatch(/gateway_journal_charges_total 2/)
  await meter.close()
})

test('the lag is the age of the oldest charge that waits', async () => {
  let nowMs = Date.now()
  const meter = createMeter({ instance: 'gateway-1', clock: () => nowMs })
  const grant = await createGrant(meter)
  await charge(meter, grant)
  const metrics = new Registry()
  const gone: Db = createDb({ url: 'postgres://nobody@127.0.0.1:1/nothing', onError: () => {} })
  const failing = createJournalWriter({ db: gone, meter, clock: () => nowMs, logger, metrics })
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
  expect(await createJournalWriter({ db: database.db, meter, clock: Date.now, logger }).drain()).toBe(1)
  expect(await journalled(grant)).toEqual({ calls: 1, charged: 10_000n, channel: 10_000n })
  await meter.close()
})

type TestGrant = { account: Address; grantId: Hex; cumulativeAmount: bigint }

async function createGrant(meter: Meter): Promise<TestGrant> {
  const grant = { account: randomAddress(), grantId: randomHex(32), cumulativeAmount: 0n }
  const nowSeconds = Math.floor(Date.now() / 1000)
  await meter.mirror({
    account: grant.account,
    token,
    block: 1n,
    funds: { allowance: 1_000_000_000n, reserve: 0n },
    grants: [
      {
        grantId: grant.grantId,
        source: 'allowance',
        status: 'active',
        validAfter: nowSeconds - 60,
        validUntil: nowSeconds + 86_400,
        totalLimit: 1_000_000_000n,
        periodLimit: 0n,
        period: 0,
        settled: 0n,
        periodIndex: 0,
        periodSettled: 0n,
        channels: [],
      },
    ],
  })
  return grant
}

async function charge(meter: Meter, grant: TestGrant, { fingerprint = 'f' } = {}): Promise<void> {
  const amount = 10_000n
  grant.cumulativeAmount += amount
  const decision = await meter.charge({
    account: grant.account,
    grantId: grant.grantId,
    payee: merchant.payee,
    amount,
    cumulativeAmount: grant.cumulativeAmount,
    requestId: randomHex(16),
    fingerprint,
    nowMs: Date.now(),
    settlementMarginSeconds: 600,
    event: { service: `svc_${'1'.repeat(32)}`, merchant: merchant.id, signature: randomHex(65) },
  })
  if (!decision.ok) throw new Error(`The charge was refused: ${decision.code}`)
  meter.served(decision.ticket)
}

/** What Postgres has of a grant. */
async function journalled({ grantId }: TestGrant): Promise<{ calls: number; charged: bigint; channel: bigint }> {
  const { items } = await listCharges(database.db, { grantId, limit: 100 })
  const channel = await getChannel(database.db, grantId, merchant.payee)
  return {
    calls: items.length,
    charged: items.reduce((sum, { amount }) => sum + amount, 0n),
    channel: channel?.charged ?? 0n,
  }
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

function randomAddress(): Address {
  return getAddress(randomHex(20))
}

function randomHex(size: number): Hex {
  return `0x${randomBytes(size).toString('hex')}`
}
