import type { MeterGeneration } from '@protocolbanks/stream-db'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createGenerations } from './generations.ts'

test('while the store of one partition cannot be asked, the process is alive and the others go on', async () => {
  const gone = new Set<number>()
  let beats = 0
  const row = (partition: number): MeterGeneration => ({
    partition,
    generation: 1,
    state: 'open',
    storeRun: 'run-1',
    ready: true,
    journalledAt: null,
  })
  const generations = createGenerations({
    partitions: 3,
    async beat() {
      beats++
      return [0, 1, 2].map(row)
    },
    async close() {
      throw new Error('Nothing is to be closed.')
    },
    open: async () => true,
    isReachable: () => true,
    async look(partition) {
      if (gone.has(partition)) throw new Error('MOVED 3689 127.0.0.1:6379')
      return { generation: 1, storeRun: 'run-1', wentBack: false }
    },
    flush: async () => 0,
    begin: async () => 'run-1',
    adopt() {},
    logger: pino({ level: 'silent' }),
    beatMs: 10,
    waitMs: 10_000,
  })
  const stopping = new AbortController()
  const running = generations.run(stopping.signal)
  for (const partition of [0, 1, 2]) expect(await generations.untilOpen(partition)).toBe(1)

  gone.add(0)
  generations.suspect(0)
  generations.suspect(1)
  expect(await generations.untilOpen(1)).toBe(1)
  const before = beats
  await expect.poll(() => beats).toBeGreaterThan(before + 1)
  expect(generations.current(0)).toBeUndefined()
  expect(generations.current(2)).toBe(1)

  gone.clear()
  expect(await generations.untilOpen(0)).toBe(1)
  stopping.abort()
  await running
})
