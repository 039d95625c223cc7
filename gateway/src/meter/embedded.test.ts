import { expect, test } from 'vitest'
import { createEmbeddedMeter } from './embedded.ts'
import { createEmbeddedStore } from './embeddedStore.ts'
import { MeterFullError } from './errors.ts'
import type { Meter } from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { accountStateOf, createPayer, useOf } from './testing/builders.ts'
import { describeMeter } from './testing/describeMeter.ts'

describeMeter('embedded meter', async () => {
  const store = createEmbeddedStore()
  const meters: Meter[] = []
  return {
    open(instance, limits = {}) {
      const meter = createEmbeddedMeter({
        clock: Date.now,
        instance,
        store,
        maxQueuedEvents: limits.maxWaitingEvents ?? 1_000,
      })
      meters.push(meter)
      return meter
    },
    async remove() {
      await Promise.all(meters.map((meter) => meter.close()))
    },
  }
})

test('forgets request ids after their retention, and holds no more than it may', async () => {
  let nowMs = 1_000_000
  const meter = createEmbeddedMeter({
    clock: () => nowMs,
    instance: 'one',
    requestRetentionMs: 600_000,
    maxRequests: 2,
  })
  const payer = createPayer()
  await meter.mirror(accountStateOf(payer))
  const use = useOf(payer)
  expect((await meter.charge(use)).ok).toBe(true)
  expect((await meter.charge(useOf(payer))).ok).toBe(true)
  await expect(meter.charge(useOf(payer))).rejects.toThrow(MeterFullError)
  nowMs += 599_999
  expect(await meter.charge(use)).toMatchObject({ code: 'request.duplicate' })
  nowMs += 1
  expect((await meter.charge(use)).ok).toBe(true)
})

test('event times never fall, and a charge that nobody answers for stands after the retention', async () => {
  let nowMs = 1_000_000
  const meter = createEmbeddedMeter({ clock: () => nowMs, instance: 'one' })
  const payer = createPayer()
  await meter.mirror(accountStateOf(payer))
  await meter.charge(useOf(payer))
  nowMs -= 5_000
  await meter.charge(useOf(payer))
  expect(await meter.readUsage(partitionOf(payer.account), 10)).toEqual([])
  nowMs += 5_000 + 600_001
  const events = await meter.readUsage(partitionOf(payer.account), 10)
  expect(events.map(({ occurredAtMs }) => occurredAtMs)).toEqual([1_000_000, 1_000_000])
})
