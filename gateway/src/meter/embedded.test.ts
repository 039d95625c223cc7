import { expect, test } from 'vitest'
import { createEmbeddedMeter } from './embedded.ts'
import { createEmbeddedStore } from './embeddedStore.ts'
import { MeterFullError } from './errors.ts'
import type { Meter } from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { accountStateOf, createPayer, grantStateOf, useOf } from './testing/builders.ts'
import { describeLeaving } from './testing/describeLeaving.ts'
import { describeMeter, type MeterStore } from './testing/describeMeter.ts'

const createMeterStore = async (): Promise<MeterStore> => {
  const store = createEmbeddedStore()
  const meters: Meter[] = []
  return {
    open(instance, limits = {}) {
      const meter = createEmbeddedMeter({
        clock: Date.now,
        instance,
        store,
        maxQueuedEvents: limits.maxWaitingEvents ?? 1_000,
        ...(limits.endedRetentionMs !== undefined && { endedRetentionMs: limits.endedRetentionMs }),
      })
      meters.push(meter)
      return meter
    },
    async remove() {
      await Promise.all(meters.map((meter) => meter.close()))
    },
  }
}

describeMeter('embedded meter', createMeterStore)
describeLeaving('ended grants of the embedded meter', createMeterStore)

test('what has left goes from memory although nobody asks for it', async () => {
  let nowMs = 1_000_000
  const store = createEmbeddedStore()
  const meter = createEmbeddedMeter({ clock: () => nowMs, instance: 'one', store, endedRetentionMs: 1_000 })
  for (let count = 0; count < 100; count += 1) {
    const payer = createPayer()
    await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { status: 'revoked' })] }))
  }
  expect([store.grants.size, store.accounts.size]).toEqual([100, 100])
  nowMs += 1_000
  // Each mirror looks at some.
  const payer = createPayer()
  for (let count = 0; count < 20; count += 1) await meter.mirror(accountStateOf(payer))
  expect([store.grants.size, store.accounts.size]).toEqual([1, 1])
})

test('what owes again stays, however long it was to leave', async () => {
  let nowMs = 1_000_000
  const meter = createEmbeddedMeter({ clock: () => nowMs, instance: 'one', endedRetentionMs: 1_000 })
  const payer = createPayer()
  const validUntil = 2_000
  await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { validAfter: 0, validUntil })] }))
  expect(await meter.charge(useOf(payer, { nowMs }))).toMatchObject({ ok: true })
  nowMs = validUntil * 1_000 + 1_000_000
  expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 10n, accountOutstanding: 10n })
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
