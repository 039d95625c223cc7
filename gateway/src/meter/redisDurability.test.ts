import { randomUUID } from 'node:crypto'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDb, type Db } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { createAccountMirror } from '../indexer/accountMirror.ts'
import { createJournal } from '../journal/createJournal.ts'
import { createMeterRecords } from '../journal/createMeterRecords.ts'
import { createJournalWriter } from '../journal/journalWriter.ts'
import {
  type Buyer,
  createBuyer,
  createSeller,
  hashVoucher,
  journalled,
  nextUse,
  type Seller,
  token,
} from '../journal/testing/buyer.ts'
import { createMeterRedis } from './createMeterRedis.ts'
import { MeterFullError, MeterUnavailableError } from './errors.ts'
import { type Decision, type Meter, partitionCount, type Ticket, type Use } from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { createRedisMeter, type RedisMeterOptions } from './redis.ts'
import { startTestRedis, type TestRedis } from './testing/startTestRedis.ts'

const logger = pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' })
const soon = { timeout: 60_000, interval: 20 }
const amount = 10_000n

let database: TestDatabase
let seller: Seller
let server: TestRedis
const closers: (() => Promise<void>)[] = []
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  seller = await createSeller(database.db)
})
afterAll(() => database.drop())
beforeEach(async () => {
  // Each test begins as a deployment does.
  await database.query('delete from meter_process')
  await database.query('delete from meter_generation')
  server = await startTestRedis()
})
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  await server.remove()
})

test('a store that is flushed loses no charge, whether it was journalled or not, and counts on where it was', async () => {
  const gateways = await Promise.all([startGateway(), startGateway()])
  const buyers = await Promise.all(Array.from({ length: 6 }, () => createBuyer(database.db, seller)))
  const served = new Map(buyers.map((buyer) => [buyer, 0]))
  const requests: { buyer: Buyer; use: Use }[] = []
  const spend = async (gateway: Gateway, buyer: Buyer) => {
    const use = nextUse(buyer, seller)
    await buy(gateway, use)
    requests.push({ buyer, use })
    served.set(buyer, (served.get(buyer) ?? 0) + 1)
  }
  const redis = client()
  for (let round = 0; round < 4; round++) {
    await Promise.all(
      buyers.map(async (buyer, index) => {
        for (let count = 0; count < 15; count++) await spend(pick(gateways, index + count), buyer)
      }),
    )
    await redis.flushall()
  }
  for (const buyer of buyers) await spend(pick(gateways, 0), buyer)
  for (const buyer of buyers) {
    const calls = served.get(buyer) ?? 0
    const charged = BigInt(calls) * amount
    await expect.poll(() => journalled(database.db, buyer, seller), soon).toEqual({ calls, charged, channel: charged })
    const last = requests.findLast((request) => request.buyer === buyer)
    await expect.poll(() => metered(pick(gateways, 1), buyer, last?.use), soon).toBe(charged)
    expect(charged).toBe(buyer.cumulativeAmount)
  }
  // No request is charged again, whoever is asked.
  for (const { use } of requests) {
    expect(await chargePatiently(pick(gateways, 1), use)).toMatchObject({ ok: false, code: 'request.duplicate' })
  }
  expect(await quarantined()).toEqual([])
})

test('what a voucher allowed before the loss is not allowed again after it', async () => {
  const gateway = await startGateway({ journal: false })
  const buyer = await createBuyer(database.db, seller)
  const use = nextUse(buyer, seller)
  await buy(gateway, use)
  await client().flushall()
  const { event } = use
  const again = { ...nextUse(buyer, seller), cumulativeAmount: use.cumulativeAmount, event }
  expect(await chargePatiently(gateway, again)).toMatchObject({ ok: false, code: 'voucher.exhausted' })
  expect(await journalled(database.db, buyer, seller)).toEqual({ calls: 1, charged: amount, channel: amount })
})

test('a store that starts again with less than it had loses no charge and revives none that was released', async () => {
  const server = await startSnapshotRedis()
  const gateways = await Promise.all([
    startGateway({ url: server.url, journal: false }),
    startGateway({ url: server.url }),
  ])
  const [first, second] = [pick(gateways, 0), pick(gateways, 1)]
  const buyer = await createBuyer(database.db, seller)
  for (let count = 0; count < 5; count++) await buy(first, nextUse(buyer, seller))
  const decision = await chargePatiently(first, nextUse(buyer, seller))
  if (!decision.ok) throw new Error('Refused')
  await server.snapshot()
  // Not in the snapshot: a release, and charges of both.
  expect(await first.meter.capture(decision.ticket, 0n)).toMatchObject({ ok: true })
  for (let count = 0; count < 5; count++) await buy(count % 2 ? first : second, nextUse(buyer, seller))
  await server.restartFromSnapshot()
  await Promise.all(gateways.map(({ meter }) => expect.poll(() => answers(meter), soon).toBe(true)))
  const last = nextUse(buyer, seller)
  await buy(second, last)
  const charged = 11n * amount
  await expect
    .poll(() => journalled(database.db, buyer, seller), soon)
    .toEqual({ calls: 11, charged, channel: charged })
  await expect.poll(() => metered(second, buyer, last), soon).toBe(charged)
  expect(await quarantined()).toEqual([])
})

test('charges of a process that is gone are taken from a store that kept them, when it starts again', async () => {
  await server.remove()
  server = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'no'])
  const dying = await startGateway({ journal: false })
  const buyer = await createBuyer(database.db, seller)
  for (let count = 0; count < 7; count++) await buy(dying, nextUse(buyer, seller))
  await server.kill()
  await dying.vanish()
  await database.query(`update meter_process set seen_at = now() - interval '11 s'`)
  await server.start()
  const next = await startGateway()
  await expect.poll(() => answers(next.meter), soon).toBe(true)
  await buy(next, nextUse(buyer, seller))
  const charged = 8n * amount
  await expect.poll(() => journalled(database.db, buyer, seller), soon).toEqual({ calls: 8, charged, channel: charged })
})

test('processes that all saw their store go back in time rebuild it once, and not for ever in turn', async () => {
  await server.remove()
  server = await startTestRedis(['--enable-debug-command', 'yes'])
  const gateways = await Promise.all([startGateway(), startGateway()])
  const buyer = await createBuyer(database.db, seller)
  const redis = client()
  await redis.save()
  for (let count = 0; count < 4; count++) await buy(pick(gateways, count), nextUse(buyer, seller))
  await announcedAgain(redis, gateways)
  await redis.call('DEBUG', 'RELOAD', 'NOSAVE')
  const losses = async () => {
    const counts = await Promise.all(gateways.map((gateway) => gateway.metric('gateway_meter_losses_total')))
    return counts.reduce((sum, count) => sum + count, 0)
  }
  await expect.poll(losses, soon).toBeGreaterThan(0)
  await Promise.all(gateways.map(({ meter }) => expect.poll(() => answers(meter), soon).toBe(true)))
  for (let count = 0; count < 4; count++) await buy(pick(gateways, count), nextUse(buyer, seller))
  const charged = 8n * amount
  await expect.poll(() => journalled(database.db, buyer, seller), soon).toEqual({ calls: 8, charged, channel: charged })
  // Both end each partition's generation once, and a late one may have to be ended again.
  expect(await losses()).toBeLessThanOrEqual(2.5 * partitionCount)
})

test('a store that goes back in time under a connection that stays is noticed, and nothing is lost', async () => {
  await server.remove()
  server = await startTestRedis(['--enable-debug-command', 'yes'])
  const gateway = await startGateway({ journal: false })
  const buyer = await createBuyer(database.db, seller)
  await buy(gateway, nextUse(buyer, seller))
  const redis = client()
  await redis.save()
  await announcedAgain(redis, [gateway])
  for (let count = 0; count < 3; count++) await buy(gateway, nextUse(buyer, seller))
  // Loads the file again in the place of what is in memory.
  await redis.call('DEBUG', 'RELOAD', 'NOSAVE')
  const losses = () => gateway.metric('gateway_meter_losses_total')
  await expect.poll(losses, soon).toBeGreaterThan(0)
  await buy(gateway, nextUse(buyer, seller))
  await gateway.journalNow()
  const charged = 5n * amount
  await expect.poll(() => journalled(database.db, buyer, seller), soon).toEqual({ calls: 5, charged, channel: charged })
})

test('a charge whose entry alone is gone from the stream is journalled by the process that made it', async () => {
  const gateway = await startGateway({ journal: false })
  const buyer = await createBuyer(database.db, seller)
  await buy(gateway, nextUse(buyer, seller))
  await buy(gateway, nextUse(buyer, seller))
  const [usage] = await client().keys(`*{p${partitionOf(buyer.account)}}*usage`)
  await client().del(usage ?? '')
  const charged = 2n * amount
  await expect.poll(() => journalled(database.db, buyer, seller), soon).toEqual({ calls: 2, charged, channel: charged })
  await expect.poll(() => gateway.metric('gateway_journal_recovered_total'), soon).toBe(2)
})

test('a Redis that hangs for a while and comes back as it was is gone on with, without Postgres', async () => {
  const gateway = await startGateway({ journal: false, commandTimeoutMs: 500 })
  const buyer = await createBuyer(database.db, seller)
  await buy(gateway, nextUse(buyer, seller))
  await gateway.db.close()
  await client().client('PAUSE', 6_000, 'ALL')
  await expect(gateway.charge(nextUse(buyer, seller))).rejects.toThrow(MeterUnavailableError)
  buyer.cumulativeAmount -= amount
  await expect
    .poll(
      () =>
        gateway.charge(nextUse(buyer, seller)).then(
          ({ ok }) => ok,
          () => false,
        ),
      soon,
    )
    .toBe(true)
  expect(await gateway.metric('gateway_meter_losses_total')).toBe(0)
})

test('a process that was taken for dead journals its charges when it is back, and the meter is rebuilt with them', async () => {
  const [cut, other] = await Promise.all([startGateway({ journal: false }), startGateway({ journal: false })])
  const buyer = await createBuyer(database.db, seller)
  const use = nextUse(buyer, seller)
  await buy(cut, use)
  cut.isCutOff = true
  await database.query(
    `update meter_process set seen_at = now() - interval '1 hour' where instance = '${cut.instance}'`,
  )
  await client().flushall()
  await expect
    .poll(
      () =>
        other.charge({ ...nextUse(buyer, seller) }).then(
          ({ ok }) => ok,
          () => false,
        ),
      soon,
    )
    .toBe(true)
  cut.isCutOff = false
  await expect.poll(() => journalled(database.db, buyer, seller), soon).toMatchObject({ charged: 2n * amount })
  await expect
    .poll(async () => {
      await other.charge(use).catch(() => {})
      return (await other.meter.read(buyer.account, buyer.grantId))?.channels[seller.merchant.payee]?.charged
    }, soon)
    .toBe(2n * amount)
})

test('while Postgres is gone charges go on up to the bound of the ledger, are refused then, and none is lost', async () => {
  const gateway = await startGateway({ journal: false, maxLedgerEvents: 20 })
  const buyer = await createBuyer(database.db, seller)
  await buy(gateway, nextUse(buyer, seller))
  gateway.isCutOff = true
  for (let count = 0; count < 19; count++) await buy(gateway, nextUse(buyer, seller))
  await expect(gateway.charge(nextUse(buyer, seller))).rejects.toThrow(MeterFullError)
  buyer.cumulativeAmount -= amount
  gateway.isCutOff = false
  await gateway.journalNow()
  await buy(gateway, nextUse(buyer, seller))
  await gateway.journalNow()
  const charged = 21n * amount
  await expect
    .poll(() => journalled(database.db, buyer, seller), soon)
    .toEqual({ calls: 21, charged, channel: charged })
})

test('nothing is charged in a Redis that may evict keys', async () => {
  await client().config('SET', 'maxmemory-policy', 'allkeys-lru')
  await expect(startGateway()).rejects.toThrow(/may evict/)
})

test('after a rebuild nothing of the generations before is left in a store that kept it', async () => {
  const gateway = await startGateway()
  const buyer = await createBuyer(database.db, seller)
  await buy(gateway, nextUse(buyer, seller))
  const redis = client()
  for (const key of await redis.keys('*marks')) await redis.hdel(key, 'generation')
  await buy(gateway, nextUse(buyer, seller))
  await expect
    .poll(async () => {
      const keys = (await redis.keys('*grant:*')).map((key) => /:g(\d+):/.exec(key)?.[1])
      return new Set(keys).size
    }, soon)
    .toBe(1)
})

async function buy(gateway: Gateway, use: Use): Promise<Ticket> {
  const decision = await chargePatiently(gateway, use)
  if (!decision.ok) throw new Error(`The charge was refused: ${decision.code}`)
  gateway.meter.served(decision.ticket)
  return decision.ticket
}

type Gateway = Pick<Meter, 'charge'> & {
  meter: Meter
  instance: string
  db: Db
  isCutOff: boolean
  /** Until everything that it charged is in the journal. */
  journalNow(): Promise<void>
  metric(name: string): Promise<number>
  /** Ends without a word, as a process that is killed. */
  vanish(): Promise<void>
}

/** What of a gateway stands between its requests and its stores. */
async function startGateway({
  url = server.url,
  journal: writes = true,
  maxLedgerEvents,
  commandTimeoutMs = 5_000,
}: {
  url?: string
  journal?: boolean
  maxLedgerEvents?: number
  commandTimeoutMs?: number
} = {}): Promise<Gateway> {
  const instance = randomUUID()
  const db = createDb({ url: database.url, maxConnections: 4, onError: () => {} })
  const recordsDb = createDb({ url: database.url, maxConnections: 2, onError: () => {} })
  const metrics = new Registry()
  const ownUsage = (eventId: string) => meter.ownUsage?.(eventId)
  const journal = createJournal({ db: recordsDb, clock: Date.now, logger, hashVoucher, ownUsage, metrics })
  const redis = createMeterRedis(url, commandTimeoutMs)
  const records = createMeterRecords({ db: recordsDb, journal, instance })
  const gone = () => Promise.reject(Object.assign(new Error('Postgres is cut off'), { code: 'ECONNREFUSED' }))
  const durability: RedisMeterOptions['durability'] = {
    records: Object.fromEntries(
      Object.entries(records).map(([name, call]) => [
        name,
        (...args: never[]) => (gateway.isCutOff ? gone() : (call as (...args: never[]) => unknown)(...args)),
      ]),
    ) as typeof records,
    logger,
    monotonicClock: () => performance.now(),
    metrics,
    maxLedgerEvents,
  }
  const meter = createRedisMeter({ redis, instance, durability, watermarkIntervalMs: 20 })
  const mirror = createAccountMirror({ db, meter, token, clock: Date.now, logger })
  const writer = createJournalWriter({ journal, meter, clock: Date.now, logger })
  const metric = async (name: string) =>
    Number(new RegExp(`^${name}(?:{.*})? (\\d+)$`, 'm').exec(await metrics.metrics())?.[1])
  const stop = new AbortController()
  const vanish = async () => {
    stop.abort()
    redis.disconnect()
    gateway.isCutOff = true
    await meter.close()
  }
  const gateway: Gateway = {
    meter,
    instance,
    db,
    isCutOff: false,
    async charge(use): Promise<Decision> {
      const decision = await meter.charge(use)
      if (decision.ok || decision.code !== 'grant.unknown') return decision
      await mirror.restoreAccount(use.account)
      return meter.charge(use)
    },
    async journalNow() {
      const left = async () => {
        await writer.drain()
        return metric('gateway_ledger_charges')
      }
      await expect.poll(left, soon).toBe(0)
    },
    metric,
    vanish,
  }
  const writing = writes ? writer.run(stop.signal) : undefined
  closers.push(async () => {
    await vanish()
    await writing
    await Promise.allSettled([db.close(), recordsDb.close()])
  })
  await patiently(() => meter.ping())
  return gateway
}

/** A Redis that starts again from the moment of its snapshot, as one does that was restored from a backup. */
async function startSnapshotRedis() {
  const directory = await mkdtemp(join(tmpdir(), 'meter-snapshot-'))
  const store = await startTestRedis(['--dir', directory, '--dbfilename', 'dump.rdb'])
  closers.push(async () => {
    await store.remove()
    await rm(directory, { recursive: true, force: true })
  })
  const redis = new Redis(store.url)
  redis.on('error', () => {})
  closers.push(async () => redis.disconnect())
  return {
    url: store.url,
    async snapshot() {
      await redis.save()
      await cp(join(directory, 'dump.rdb'), join(directory, 'kept.rdb'))
    },
    async restartFromSnapshot() {
      await store.kill()
      await cp(join(directory, 'kept.rdb'), join(directory, 'dump.rdb'))
      await store.start()
    },
  }
}

function client(): Redis {
  const redis = new Redis(server.url)
  redis.on('error', () => {})
  closers.push(async () => redis.disconnect())
  return redis
}

/** As the refusal says: while the meter is being rebuilt the request is repeated with the same id. */
async function chargePatiently(gateway: Gateway, use: Use): Promise<Decision> {
  return patiently(async () => {
    const decision = await gateway.charge(use)
    // The store was lost once more, right after the account was brought back.
    if (!decision.ok && decision.code === 'grant.unknown') throw new MeterUnavailableError('The grant is not there.')
    return decision
  })
}

/** Until the meter is there, however long a busy machine takes to look at it or to rebuild it. */
async function patiently<answer>(ask: () => Promise<answer>): Promise<answer> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask()
    } catch (error) {
      const isBeingRebuilt = error instanceof MeterUnavailableError && !/may evict/.test(error.message)
      if (!isBeingRebuilt || error instanceof MeterFullError || tries === 1_000) throw error
      await sleep(50)
    }
  }
}

/** What the meter has charged in the buyer's channel, which the repeat of a charged request brings back if need be. */
async function metered(gateway: Gateway, buyer: Buyer, charged?: Use): Promise<bigint | undefined> {
  if (charged) await chargePatiently(gateway, charged)
  const read = await gateway.meter.read(buyer.account, buyer.grantId)
  return read?.channels[seller.merchant.payee]?.charged
}

/** Until every gateway has announced itself in every partition, and knows that it has. */
async function announcedAgain(redis: Redis, gateways: readonly Gateway[]): Promise<void> {
  const counts = () =>
    Promise.all(
      gateways.flatMap(({ instance }) =>
        Array.from({ length: partitionCount }, async (_, partition) => {
          const beat = await redis.hget(`stream:{p${partition}}:marks`, `beat:${instance}`)
          return Number(beat?.split(':')[0])
        }),
      ),
    )
  const before = await counts()
  // The second is sent when the first was answered.
  const hasBeat = async () => (await counts()).every((count, index) => count >= (before[index] ?? 0) + 2)
  await expect.poll(hasBeat, soon).toBe(true)
}

function pick(gateways: readonly Gateway[], index: number): Gateway {
  const gateway = gateways[index % gateways.length]
  if (!gateway) throw new Error('There is no gateway.')
  return gateway
}

async function quarantined(): Promise<unknown[]> {
  return database.query('select reason, detail, event from usage_quarantine')
}

function answers(meter: Meter): Promise<boolean> {
  return meter.ping().then(
    () => true,
    () => false,
  )
}
