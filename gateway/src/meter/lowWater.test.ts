import { expect, test } from 'vitest'
import { createLowWater } from './lowWater.ts'

test('the mark is the last time heard when nothing is open', () => {
  const lowWater = createLowWater(1_000)
  expect(lowWater.mark()).toBeUndefined()
  lowWater.heard(100)
  expect(lowWater.mark()).toBe(100)
})

test('the mark stays at the oldest open charge, whatever the order of outcomes', () => {
  const lowWater = createLowWater(1_000)
  lowWater.heard(100)
  const first = lowWater.open()
  lowWater.heard(200)
  const second = lowWater.open()
  lowWater.heard(300)
  expect([first.since, second.since]).toEqual([100, 200])
  lowWater.charged(first.attempt, 'p0-1')
  expect(lowWater.mark()).toBe(100)
  lowWater.closeEvent('p0-1')
  expect(lowWater.mark()).toBe(200)
  lowWater.close(second.attempt)
  expect(lowWater.mark()).toBe(300)
  expect(lowWater.openCount).toBe(0)
})

test('a charge that is sent before any time is known holds everything', () => {
  const lowWater = createLowWater(1_000)
  const { attempt, since } = lowWater.open()
  expect(since).toBe(0)
  lowWater.heard(1_000_000)
  lowWater.heard(1_000_100)
  expect(lowWater.mark()).toBe(0)
  lowWater.close(attempt)
  expect(lowWater.mark()).toBe(1_000_100)
})

test('time that jumps back does not lower the mark', () => {
  const lowWater = createLowWater(1_000)
  lowWater.heard(500)
  lowWater.heard(400)
  expect(lowWater.mark()).toBe(500)
})

test('a charge without an outcome is given up after its time, so that a leak does not hold the journal for ever', () => {
  const lowWater = createLowWater(1_000)
  lowWater.open()
  lowWater.heard(100)
  lowWater.open()
  lowWater.heard(1_100)
  expect(lowWater.mark()).toBe(0)
  lowWater.heard(1_101)
  expect(lowWater.openCount).toBe(0)
  expect(lowWater.mark()).toBe(1_101)
})
