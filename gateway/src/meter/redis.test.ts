import { randomUUID } from 'node:crypto'
import { inject } from 'vitest'
import { createMeterRedis } from './createMeterRedis.ts'
import type { Meter } from './meter.ts'
import { createRedisMeter } from './redis.ts'
import { describeMeter } from './testing/describeMeter.ts'
import { removeKeys } from './testing/removeKeys.ts'

describeMeter('redis meter', async () => {
  const redis = createMeterRedis(inject('redisUrl'))
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
})
