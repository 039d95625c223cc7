import { expect, test } from 'vitest'
import { createRateLimit } from './rateLimit.ts'

test('so many happen in a window, then none until it ends, for each key by itself', () => {
  let now = 1_000
  const limit = createRateLimit({ max: 2, windowMs: 60_000, maxKeys: 10, clock: () => now })
  expect([limit.take('a'), limit.take('a')]).toEqual([undefined, undefined])
  now += 20_000
  expect(limit.take('a')).toBe(40_000)
  expect(limit.take('b')).toBeUndefined()
  now += 40_000
  expect(limit.take('a')).toBeUndefined()
})

test('a clock that is set back closes nothing for longer than a window', () => {
  let now = 1_000_000
  const limit = createRateLimit({ max: 1, windowMs: 60_000, maxKeys: 10, clock: () => now })
  limit.take('a')
  now = 0
  expect(limit.take('a')).toBeUndefined()
  expect(limit.take('a')).toBe(60_000)
})

test('a bounded number of keys is remembered, whoever asks', () => {
  const limit = createRateLimit({ max: 1, windowMs: 60_000, maxKeys: 3, clock: () => 0 })
  for (const key of ['a', 'b', 'c', 'd']) expect(limit.take(key)).toBeUndefined()
  expect(limit.take('d')).toBe(60_000)
  expect(limit.take('a')).toBeUndefined()
})
