import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, afterEach, expect, inject, test } from 'vitest'
import { createMeterRedis } from '../meter/createMeterRedis.ts'
import { createEmbeddedMeter } from '../meter/embedded.ts'
import type { Meter } from '../meter/meter.ts'
import { createRedisMeter } from '../meter/redis.ts'
import { accountStateOf, channelStateOf, createPayer, grantStateOf, token, useOf } from '../meter/testing/builders.ts'
import { removeKeys } from '../meter/testing/removeKeys.ts'
import { createExposureKeeper, type ExposureKeeperOptions, type LimitedMerchant } from './exposureKeeper.ts'

const redis = createMeterRedis(inject('redisUrl'), 10_000)
const prefix = `test-${randomUUID()}:`
const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})
afterAll(async () => {
  await removeKeys(inject('redisUrl'), prefix)
  redis.disconnect()
})

async function openMeter(): Promise<Meter> {
  const meter = createRedisMeter({ redis, instance: randomUUID(), prefix: `${prefix}${randomUUID()}:` })
  await meter.ping()
  closers.push(meter.close)
  return meter
}

function limitedTo(maxTotal: bigint, version = 1): LimitedMerchant {
  return { merchantId: 'mer_1', payee: createPayer().payee, token, credit: { mode: 'credit', version, maxTotal } }
}

function createKeeper(meter: Meter, merchant: LimitedMerchant, change: Partial<ExposureKeeperOptions> = {}) {
  const registry = new Registry()
  const keeper = createExposureKeeper({
    meter,
    limited: () => [merchant],
    listDebtors: async () => [],
    mirrorAccount: async () => true,
    requestSettlements: async () => 0,
    clock: Date.now,
    logger: pino({ level: 'silent' }),
    metrics: registry,
    intervalMs: 20,
    roundIntervalMs: 20,
    ...change,
  })
  return { keeper, registry }
}

async function chargeOnce(meter: Meter, merchant: LimitedMerchant, payer = createPayer(), amount = 10n) {
  const { payee, credit } = merchant
  const own = { ...payer, payee }
  await meter.mirror(accountStateOf(own))
  const use = () => useOf(own, { amount, credit })
  return { pay: async () => (await meter.charge(use())).ok }
}

test('charges of many accounts at once are served up to the limit exactly, whichever partitions they fall in', async () => {
  const meter = await openMeter()
  const merchant = limitedTo(300n)
  const { keeper } = createKeeper(meter, merchant)
  let full = 0
  const served = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const { pay } = await chargeOnce(meter, merchant)
      // Ten who find no room often enough after all of it was taken.
      for (let tries = 0, inVain = 0; tries < 2_000 && inVain < 20; tries++) {
        if (await pay()) {
          full += 10
          return true
        }
        if (full >= 300) inVain++
        // What nobody uses is moved in the next rounds.
        if (!(await keeper.makeRoom(merchant))) await delay(20)
      }
      return false
    }),
  )
  expect(served.filter(Boolean)).toHaveLength(30)
  expect(await meter.exposureOf(token, merchant.payee)).toBe(300n)
})

test('says at once that there is no room when all was given out a moment ago', async () => {
  const meter = await openMeter()
  const merchant = limitedTo(10n)
  const { keeper } = createKeeper(meter, merchant, { roundIntervalMs: 60_000 })
  const { pay } = await chargeOnce(meter, merchant)
  expect(await pay()).toBe(false)
  expect(await keeper.makeRoom(merchant)).toBe(true)
  expect(await pay()).toBe(true)
  const { pay: payMore } = await chargeOnce(meter, merchant)
  expect(await payMore()).toBe(false)
  // The next round would be in a minute: nobody waits for it.
  expect(await keeper.makeRoom(merchant)).toBe(false)
})

test('a meter that lost everything counts the debts of the journal before it gives room', async () => {
  const meter = await openMeter()
  const merchant = limitedTo(100n)
  const debtor = { ...createPayer(), payee: merchant.payee }
  const { keeper } = createKeeper(meter, merchant, {
    listDebtors: async ({ after }) => (after === undefined ? [debtor.account] : []),
    async mirrorAccount(account) {
      expect(account).toBe(debtor.account)
      const channels = [channelStateOf(debtor, { authorized: 91n, charged: 91n })]
      await meter.mirror(accountStateOf(debtor, { grants: [grantStateOf(debtor, { channels })] }))
      return true
    },
  })
  const { pay } = await chargeOnce(meter, merchant)
  expect(await pay()).toBe(false)
  await keeper.makeRoom(merchant)
  expect(await pay()).toBe(false)
  expect(await meter.exposureOf(token, merchant.payee)).toBe(91n)
})

test('without budgets to move there is nothing to wait for: one process counts exactly', async () => {
  const meter = createEmbeddedMeter({ clock: Date.now, instance: 'gateway-1' })
  const merchant = limitedTo(20n)
  const { keeper } = createKeeper(meter, merchant)
  const { pay } = await chargeOnce(meter, merchant)
  expect([await pay(), await pay(), await pay()]).toEqual([true, true, false])
  expect(await keeper.makeRoom(merchant)).toBe(false)
})

test('watching, it shows what is owed and the limit, asks for settlements, and goes on after failures', async () => {
  const meter = await openMeter()
  let merchants = [limitedTo(50n)]
  const [merchant = limitedTo(50n)] = merchants
  let asked = 0
  const { keeper, registry } = createKeeper(meter, merchant, {
    limited: () => merchants,
    async requestSettlements() {
      asked++
      if (asked === 1) throw new Error('Postgres is gone')
    },
  })
  const stopping = new AbortController()
  const running = keeper.run(stopping.signal)
  closers.push(async () => {
    stopping.abort()
    await running
  })
  const { pay } = await chargeOnce(meter, merchant)
  await expect.poll(pay).toBe(true)
  const metricOf = async (name: string) => (await registry.getSingleMetric(name)?.get())?.values[0]?.value
  await expect.poll(() => metricOf('gateway_exposure_atomic')).toBe(10)
  expect(await metricOf('gateway_exposure_limit_atomic')).toBe(50)
  await expect.poll(() => asked).toBeGreaterThan(1)
  merchants = []
  await expect.poll(() => metricOf('gateway_exposure_atomic')).toBeUndefined()
})
