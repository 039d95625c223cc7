import { setTimeout as delay } from 'node:timers/promises'
import { type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type DurableRedis, startDurableRedis } from './testing/durableRedis.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { createPostgresOutage, type PostgresOutage } from './testing/postgresOutage.ts'
import { readinessOf } from './testing/readinessOf.ts'
import { readBooks } from './testing/settleAll.ts'
import { startGateway } from './testing/startGateway.ts'
import { startTraffic, type Traffic } from './testing/startTraffic.ts'

// Two gateways share a Redis that keeps nothing on disk. Agents call both while one of their stores loses its memory, or a
// gateway its life. Then what was served, charged, settled and received has to be the same.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 100 }
/** A chain that is not seen is another test's. */
const env = { MAX_CHAIN_STALENESS_SECONDS: '600' }
/** What a call may be answered while the meter is looked at or rebuilt. */
const expected = [
  '402 payment.required',
  '503 meter.unavailable',
  '409 request.in_progress',
  // Until a charge whose answer was lost is taken back: the agent learns what is charged and signs again.
  '402 voucher.exhausted',
]

/** Of one agent. */
const callsInFlight = 4

let redis: DurableRedis
let stack: Stack
let second: Service
let postgres: PostgresOutage
beforeAll(async () => {
  redis = await startDurableRedis({ keeps: 'snapshots' })
  stack = await startStack({ withRedis: false, env: { gateway: { ...env, REDIS_URL: redis.url } } })
  second = await startGateway(stack, { ...env, REDIS_URL: redis.url }, { label: 'gateway-2' })
  postgres = await createPostgresOutage(stack.postgres)
}, timeout)
afterAll(async () => {
  await second?.stop()
  await stack?.stop()
  await postgres?.end()
  await redis?.remove()
}, 240_000)

type Agent = { budget: Budget; gateway: Service; traffic: Traffic }
let shop: Shop
let agents: Agent[]
let shops = 0
const closers: (() => Promise<void>)[] = []
beforeEach(async () => {
  shop = await openShop(stack, `lasting-${++shops}`)
  closers.push(() => shop.stop())
  agents = []
  // The budgets of one after another: they share the bundler.
  for (const gateway of [stack.gateway, second, stack.gateway, second]) {
    const budget = await giveBudget(stack, shop)
    agents.push({ budget, gateway, traffic: startTraffic(at(gateway), budget) })
  }
  closers.push(() => stopTraffic())
  await Promise.all(agents.map(({ traffic }) => traffic.untilServed(10)))
}, timeout)
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
}, 120_000)

describe('when Redis', () => {
  test('is flushed again and again, no charge is lost or made twice', { timeout }, async () => {
    const client = new Redis(redis.url)
    closers.push(async () => client.disconnect())
    for (let round = 0; round < 5; round++) {
      await client.flushall()
      await Promise.all(agents.map(({ traffic }) => traffic.untilServed(10)))
    }
    await expectBooksToBalance()
  })

  test('is killed and comes back with nothing, no charge is lost or made twice', { timeout }, async () => {
    await redis.kill()
    await redis.forget()
    await delay(500)
    await redis.start()
    await Promise.all(agents.map(({ traffic }) => traffic.untilServed(20)))
    await expectBooksToBalance()
  })

  test('comes back from an old snapshot, no charge is lost, made twice or revived', { timeout }, async () => {
    const client = new Redis(redis.url)
    await client.save()
    client.disconnect()
    await Promise.all(agents.map(({ traffic }) => traffic.untilServed(30)))
    await redis.kill()
    await redis.start()
    await Promise.all(agents.map(({ traffic }) => traffic.untilServed(20)))
    await expectBooksToBalance()
  })

  test('is paused for five seconds, calls are refused meanwhile and nothing is lost', { timeout }, async () => {
    redis.pause()
    await agents[0]?.traffic.untilRefused('503 meter.unavailable')
    await delay(5_000)
    redis.resume()
    await Promise.all(agents.map(({ traffic }) => traffic.untilServed(20)))
    await expectBooksToBalance()
  })
})

describe('when Postgres', () => {
  test('is killed while it writes, what was charged meanwhile is journalled once when it is back', {
    timeout,
  }, async () => {
    for (let round = 0; round < 2; round++) {
      await postgres.kill()
      await Promise.all(agents.map(({ traffic }) => traffic.untilServed(20)))
      await postgres.start()
      await Promise.all(agents.map(({ traffic }) => traffic.untilServed(10)))
    }
    await expectBooksToBalance()
  })

  test('is gone for longer than a gateway has room for, calls are refused with meter.full and nothing is lost', {
    timeout,
  }, async () => {
    const small = { ...env, REDIS_URL: redis.url, MAX_LEDGER_EVENTS: '60' }
    const third = await startGateway(stack, small, { label: 'gateway-small' })
    closers.push(() => third.stop())
    const budget = await giveBudget(stack, shop)
    const traffic = startTraffic(at(third), budget)
    agents.push({ budget, gateway: third, traffic })
    await traffic.untilServed(10)
    await postgres.stop()
    const servedBefore = traffic.served()
    await traffic.untilRefused('503 meter.full')
    const served = traffic.served()
    await traffic.untilRefused('503 meter.full')
    // What was charged before the first refusal may have been answered after it.
    expect(traffic.served() - served).toBeLessThanOrEqual(callsInFlight)
    expect(served - servedBefore).toBeLessThanOrEqual(60 + callsInFlight)
    await postgres.start()
    await traffic.untilServed(20)
    await expectBooksToBalance([...expected, '503 meter.full', '503 database.unavailable'])
  })
})

describe('when a gateway ends', () => {
  const places = [
    'charge.after:20',
    'charge.served:20',
    'journal.read:3',
    'journal.appended:3',
    'journal.acknowledged:3',
  ]
  test.each(places)('at %s, what it charged is journalled once by another', { timeout }, async (place) => {
    // It journals what others charge too, and is to live until it is called.
    await stopTraffic()
    for (const { budget, traffic } of agents) await untilJournalled(budget, traffic.served())
    const mortal = await startGateway(
      stack,
      { ...env, REDIS_URL: redis.url, CRASH_AT: place },
      { label: `gateway-${place}` },
    )
    closers.push(() => mortal.stop())
    const budget = await giveBudget(stack, shop)
    const traffic = startTraffic(at(mortal), budget)
    closers.push(() => traffic.stop())
    agents = agents.map(goOn)
    expect(await mortal.process.exited).toMatchObject({ signal: 'SIGKILL' })
    await traffic.stop()
    // A call whose answer was lost with the gateway is charged; the agent may repeat its id free.
    const { live } = await readBooks(stack, shop, budget)
    expect(live).toBeGreaterThanOrEqual(BigInt(traffic.served()) * priceAtomic)
    expect(live).toBeLessThanOrEqual(BigInt(traffic.served() + callsInFlight) * priceAtomic)
    expect(await settleAgent(budget, live)).toMatchObject({ live, charged: live, settled: live })
    await expectBooksToBalance(expected, live)
  })

  test('in an orderly way, it leaves nothing in Redis alone', { timeout }, async () => {
    const mortal = await startGateway(stack, { ...env, REDIS_URL: redis.url }, { label: 'gateway-mortal' })
    closers.push(() => mortal.stop())
    const budget = await giveBudget(stack, shop)
    const traffic = startTraffic(at(mortal), budget)
    closers.push(() => traffic.stop())
    await traffic.untilServed(20)
    await traffic.stop()
    await mortal.stop()
    await redis.kill()
    await redis.forget()
    await redis.start()
    await Promise.all(agents.map((agent) => agent.traffic.untilServed(10)))
    agents.push({ budget, gateway: mortal, traffic })
    await expectBooksToBalance()
  })
})

function at(gateway: { url: string }): Shop {
  return { ...shop, url: shop.url.replace(stack.gateway.url, gateway.url) }
}

async function stopTraffic(): Promise<void> {
  await Promise.all(agents.map(({ traffic }) => traffic.stop()))
}

/** An agent whose calls were stopped calls again; what it was answered before counts. */
function goOn({ budget, gateway, traffic: before }: Agent): Agent {
  const traffic = startTraffic(at(gateway), budget)
  for (const [kind, count] of before.refusals) traffic.refusals.set(kind, count)
  traffic.surprises.push(...before.surprises)
  return { budget, gateway, traffic: { ...traffic, served: () => before.served() + traffic.served() } }
}

async function untilJournalled(budget: Budget, calls: number): Promise<void> {
  const charged = async () => (await readBooks(stack, shop, budget)).charged
  await expect.poll(charged, soon).toBe(BigInt(calls) * priceAtomic)
}

/** Every call that was served was charged once, journalled, settled and paid; nothing else was. */
async function expectBooksToBalance(kinds: readonly string[] = expected, paidByOthers = 0n): Promise<void> {
  await stopTraffic()
  await expect.poll(() => readinessOf(stack.gateway), soon).toEqual({ status: 200, failing: [] })
  for (const { traffic } of agents) {
    expect(traffic.surprises).toEqual([])
    expect([...traffic.refusals.keys()].filter((kind) => !kinds.includes(kind))).toEqual([])
  }
  const total = agents.reduce((sum, { traffic }) => sum + BigInt(traffic.served()), 0n) * priceAtomic
  let received = 0n
  for (const { budget, traffic } of agents) {
    const calls = traffic.served()
    const amount = BigInt(calls) * priceAtomic
    // Agents share the payee, so its balance says the sum alone.
    const books = await settleAgent(budget, amount)
    expect({ ...books, received: 0n }).toEqual({ live: amount, charged: amount, settled: amount, received: 0n, calls })
    received = books.received
  }
  expect(received).toBe(total + paidByOthers)
  expect(await quarantined()).toEqual([])
}

/** As `settleAll`, of a channel whose payee is paid by others too. */
async function settleAgent(budget: Budget, amount: bigint) {
  const deadline = Date.now() + 120_000
  for (;;) {
    const books = await readBooks(stack, shop, budget)
    const isDone = [books.live, books.charged, books.settled].every((figure) => figure === amount)
    if (isDone || Date.now() > deadline) return books
    if (books.charged === amount && books.settled < amount) {
      await manage(stack, shop.apiKey, 'POST /settlements', { grantId: budget.grantId })
    }
    await delay(500)
  }
}

async function quarantined(): Promise<unknown> {
  const { body } = await manage<{ events: unknown[] }>(stack, stack.operatorApiKey, 'GET /usage-quarantine')
  return body.events
}
