import { createMeterRedis } from './createMeterRedis.ts'
import { createEmbeddedMeter } from './embedded.ts'
import type { Meter } from './meter.ts'
import { createRedisMeter } from './redis.ts'
import type { DurabilityOptions } from './redisDurability.ts'

export type MeterConfig = {
  /** One URL, or several separated by commas for a Redis Cluster. Undefined: the meter is inside this process. */
  redisUrl?: string | undefined
  /** Of this process, new at every start. */
  instance: string
  clock(): number
  keyPrefix?: string | undefined
  requestRetentionMs?: number | undefined
  /** Usage events that may wait for the journal, per partition. */
  maxQueuedEvents?: number | undefined
  /** For a meter in Redis; see `createRedisMeter`. */
  durability?: DurabilityOptions | undefined
}

/**
 * The meter that the configuration asks for; closing it closes its connection. It connects in the background: `ping`
 * tells when it is ready.
 *
 * @example const meter = createMeter({ redisUrl: 'redis://localhost:6379', instance: randomUUID(), clock: Date.now })
 */
export function createMeter(config: MeterConfig): Meter {
  const { redisUrl, instance, clock, keyPrefix = 'stream:' } = config
  const { requestRetentionMs = 600_000, maxQueuedEvents = 50_000 } = config
  if (redisUrl === undefined) return createEmbeddedMeter({ clock, instance, requestRetentionMs, maxQueuedEvents })

  const redis = createMeterRedis(redisUrl)
  const meter = createRedisMeter({
    redis,
    instance,
    prefix: keyPrefix,
    requestRetentionMs,
    maxStreamLength: maxQueuedEvents,
    durability: config.durability,
  })
  return {
    ...meter,
    async close() {
      await meter.close()
      redis.disconnect()
    },
  }
}
