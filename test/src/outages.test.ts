import { setTimeout as delay } from 'node:timers/promises'
import { freePort, type Stack, startStack } from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Cuttable, createCuttable } from './testing/cuttable.ts'
import { type DurableRedis, startDurableRedis } from './testing/durableRedis.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { createPostgresOutage, type PostgresOutage } from './testing/postgresOutage.ts'
import { readinessOf } from './testing/readinessOf.ts'
import { readBooks, settleAll } from './testing/settleAll.ts'
import { startTraffic, type Traffic } from './testing/startTraffic.ts'

// Everything runs as processes of its own, and an agent keeps calling while one of the things they stand on goes away.

const stalenessSeconds = 10
const timeout = 400_000
const soon = { timeout: 90_000, interval: 100 }

let chainWay: Cuttable
let bundlerWay: Cuttable
let redis: DurableRedis
let stack: Stack
let postgres: PostgresOutage
beforeAll(async () => {
  const ports = { anvil: await freePort(), bundler: await freePort() }
  chainWay = await createCuttable(`http://127.0.0.1:${ports.anvil}`)
  bundlerWay = await createCuttable(`http://127.0.0.1:${ports.bundler}`)
  redis = await startDurableRedis()
  const ways = { RPC_URL: chainWay.url, BUNDLER_URL: bundlerWay.url }
  stack = await startStack({
    withRedis: false,
    ports,
    env: {
      gateway: {
        RPC_URL: chainWay.url,
        REDIS_URL: redis.url,
        MAX_CHAIN_STALENESS_SECONDS: `${stalenessSeconds}`,
      },
      settlement: ways,
      paymaster: ways,
    },
  })
  postgres = await createPostgresOutage(stack.postgres)
}, timeout)
afterAll(async () => {
  await stack?.stop()
  await postgres?.end()
  await redis?.remove()
  await bundlerWay?.close()
  await chainWay?.close()
}, 240_000)

let shop: Shop
let budget: Budget
let traffic: Traffic
let shops = 0
beforeEach(async () => {
  shop = await openShop(stack, `shop-${++shops}`)
  budget = await giveBudget(stack, shop)
  traffic = startTraffic(shop, budget)
  await traffic.untilServed(10)
  return async () => {
    await traffic.stop()
    await shop.stop()
  }
}, timeout)

function gatewayIs(status: 200 | 503, failing: string[]) {
  return expect.poll(() => readinessOf(stack.gateway), soon).toEqual({ status, failing })
}

/** Every call that was served was charged, settled and paid, once; nothing else was; no answer was a surprise. */
async function expectBooksToBalance(kinds: string[]): Promise<void> {
  await traffic.stop()
  expect(traffic.surprises).toEqual([])
  expect([...traffic.refusals.keys()].filter((kind) => !kinds.includes(kind))).toEqual([])
  const calls = traffic.served()
  expect(shop.calls).toHaveLength(calls)
  const amount = BigInt(calls) * priceAtomic
  expect(await settleAll(stack, shop, budget, amount)).toEqual({
    live: amount,
    charged: amount,
    settled: amount,
    received: amount,
    calls,
  })
}

describe('when Redis', () => {
  test('is killed, calls are refused with meter.unavailable, and go on when it is back', { timeout }, async () => {
    await redis.kill()
    await traffic.untilRefused('503 meter.unavailable')
    await gatewayIs(503, ['meter'])
    const served = traffic.served()
    await traffic.untilRefused('503 meter.unavailable')
    expect(traffic.served()).toBe(served)

    await redis.start()
    await gatewayIs(200, [])
    await traffic.untilServed(20)
    // The answer to a charge may be lost with it: until that is taken back, its agent learns what is charged, or asks again.
    const lost = ['402 voucher.exhausted', '409 request.in_progress']
    await expectBooksToBalance(['402 payment.required', '503 meter.unavailable', ...lost])
  })

  test('comes back with nothing, what is in the journal is still charged, and calls go on', { timeout }, async () => {
    await traffic.stop()
    const charged = BigInt(traffic.served()) * priceAtomic
    await expect.poll(async () => (await readBooks(stack, shop, budget)).charged, soon).toBe(charged)
    const before = traffic
    await redis.kill()
    await redis.forget()
    await gatewayIs(503, ['meter'])
    await redis.start()
    await gatewayIs(200, [])

    traffic = startTraffic(shop, budget)
    await traffic.untilServed(20)
    await traffic.stop()
    const { surprises, refusals } = traffic
    const served = before.served() + traffic.served()
    traffic = { ...traffic, served: () => served }
    expect(surprises).toEqual([])
    // The new agent learns from the first answer what was charged before.
    expect([...refusals.keys()]).toEqual(expect.arrayContaining(['402 payment.required', '402 voucher.exhausted']))
    // What is filled from the journal may take longer than a request waits for it.
    await expectBooksToBalance(['402 payment.required', '402 voucher.exhausted', '503 meter.unavailable'])
  })
})

test('when Postgres is stopped, known grants are served on, management says 503, and the journal catches up', {
  timeout,
}, async () => {
  await postgres.stop()
  await traffic.untilServed(20)
  expect(await manage(stack, shop.apiKey, 'GET /services')).toMatchObject({
    status: 503,
    contentType: 'application/problem+json',
    body: { code: 'database.unavailable' },
  })
  await expect
    .poll(() => readinessOf(stack.gateway), soon)
    .toMatchObject({
      status: 503,
      failing: expect.arrayContaining(['database']),
    })
  // The chain is mirrored to Postgres, so past the bound it counts as not seen.
  await traffic.untilRefused('503 chain.stale')
  await gatewayIs(503, ['database', 'chain'])

  await postgres.start()
  await gatewayIs(200, [])
  await traffic.untilServed(20)
  await expectBooksToBalance(['402 payment.required', '503 chain.stale'])
})

test('when the chain hangs, calls are served up to the bound and refused past it, and go on when it answers', {
  timeout,
}, async () => {
  const hungAt = Date.now()
  chainWay.hang()
  await traffic.untilServed(20)
  await traffic.untilRefused('503 chain.stale')
  await gatewayIs(503, ['chain'])
  await traffic.untilRefused('503 chain.stale')
  // A call that was let through at the last moment took a little to arrive, on a busy machine some seconds.
  expect(traffic.lastServedAt() - hungAt).toBeLessThan(stalenessSeconds * 1_000 + 15_000)

  await chainWay.cut()
  await chainWay.mend()
  await gatewayIs(200, [])
  await traffic.untilServed(20)
  await expectBooksToBalance(['402 payment.required', '503 chain.stale'])
})

test('when the bundler is gone, calls are served and settlement waits; it settles when the bundler is back', {
  timeout,
}, async () => {
  await bundlerWay.cut()
  await expect.poll(() => readinessOf(stack.settlement), soon).toMatchObject({ status: 503, failing: ['bundler'] })
  await expect.poll(() => requestSettlement(), soon).toBe(202)
  await traffic.untilServed(20)
  await delay(3_000)
  await gatewayIs(200, [])
  expect(await readBooks(stack, shop, budget)).toMatchObject({ settled: 0n, received: 0n })

  await bundlerWay.mend()
  await expect.poll(() => readinessOf(stack.settlement), soon).toEqual({ status: 200, failing: [] })
  await traffic.untilServed(20)
  await expectBooksToBalance(['402 payment.required'])
})

async function requestSettlement(): Promise<number> {
  return (await manage(stack, shop.apiKey, 'POST /settlements', { grantId: budget.grantId })).status
}
