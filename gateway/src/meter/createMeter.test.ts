import { randomUUID } from 'node:crypto'
import { expect, inject, test } from 'vitest'
import { createMeter } from './createMeter.ts'
import { MeterUnavailableError } from './errors.ts'
import { accountStateOf, createPayer, useOf } from './testing/builders.ts'
import { removeKeys } from './testing/removeKeys.ts'

test('with a Redis URL the meter is in Redis, without one in this process', async () => {
  const keyPrefix = `test-${randomUUID()}:`
  const config = { instance: randomUUID(), clock: Date.now, keyPrefix }
  const meters = [createMeter({ ...config, redisUrl: inject('redisUrl') }), createMeter(config)]
  expect(meters.map(({ kind }) => kind)).toEqual(['redis', 'embedded'])
  for (const meter of meters) {
    const payer = createPayer()
    await meter.ping()
    await meter.mirror(accountStateOf(payer))
    expect((await meter.charge(useOf(payer))).ok).toBe(true)
    await meter.close()
    await expect(meter.ping()).rejects.toThrow(MeterUnavailableError)
  }
  await removeKeys(inject('redisUrl'), keyPrefix)
})
