import { expect, test } from 'vitest'
import { measureThroughput } from './throughput.ts'

test('every event of every grant is measured, and what one grant is stored as stays below 24 kB', () => {
  const measured = measureThroughput(50, 300)
  expect(measured.events).toBe(50 * 300)
  expect(measured.eventsPerSecond).toBeGreaterThan(0)
  expect(measured.largestStateBytes).toBeLessThan(24_000)
})
