import { randomUUID } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { expect, inject, test } from 'vitest'
import { createMeterRedis } from './createMeterRedis.ts'
import type { Meter } from './meter.ts'
import { createRedisMeter } from './redis.ts'
import { accountStateOf, channelStateOf, createPayer, grantStateOf, randomAddress, useOf } from './testing/builders.ts'
import { describeLeaving } from './testing/describeLeaving.ts'
import { describeMeter, type MeterStore } from './testing/describeMeter.ts'
import { removeKeys } from './testing/removeKeys.ts'

const createStore = async (): Promise<MeterStore> => {
  const redis = createMeterRedis(inject('redisUrl'), 10_000)
  const prefix = `test-${randomUUID()}:`
  const meters: Meter[] = []
  return {
    open(instance, limits = {}) {
      const meter = createRedisMeter({
        redis,
        instance,
        prefix,
        watermarkIntervalMs: 10,
        maxStreamLength: limits.maxWaitingEvents ?? 1_000,
        ...(limits.endedRetentionMs !== undefined && { endedRetentionMs: limits.endedRetentionMs }),
      })
      meters.push(meter)
      return meter
    },
    async remove() {
      await Promise.all(meters.map((meter) => meter.close()))
      await removeKeys(inject('redisUrl'), prefix)
      redis.disconnect()
    },
  }
}

test('a charge keeps a grant and its account in Redis, and the next copy lets them leave again', async () => {
  const store = await createStore()
  const redis = createMeterRedis(inject('redisUrl'), 10_000)
  try {
    const meter = store.open('gateway-1')
    await meter.ping()
    const payer = createPayer()
    const [first, second] = [accountStateOf(payer), accountStateOf(payer, { block: 2n })]
    const channels = [channelStateOf(payer, { authorized: 1_000n, charged: 10n, settled: 10n })]
    // -1 stands for a key that stays.
    const leaving = async () => {
      const keys = await findKeys(redis, payer.account)
      return Promise.all(keys.map(async (key) => (await redis.pttl(key)) > 0))
    }
    await meter.mirror(first)
    expect(await leaving()).toEqual([true, true])
    expect(await meter.charge(useOf(payer))).toMatchObject({ ok: true })
    expect(await leaving()).toEqual([false, false])
    await meter.mirror({ ...second, grants: [grantStateOf(payer, { channels })] })
    expect(await leaving()).toEqual([true, true])
    // What is counted in another token keeps the account.
    await meter.mirror({ ...accountStateOf(payer, { grants: [], block: 3n }), token: randomAddress() })
    expect(await leaving()).toEqual([false, true])
  } finally {
    redis.disconnect()
    await store.remove()
  }
})

/** Account first, then grant. */
async function findKeys(redis: Redis | Cluster, account: string): Promise<string[]> {
  const keys = await Promise.all(
    ['account', 'grant'].map((kind) => redis.keys(`test-*${kind}:${account.toLowerCase()}*`)),
  )
  return keys.flat()
}

describeMeter('redis meter', createStore)
describeLeaving('ended grants of the redis meter', createStore)
