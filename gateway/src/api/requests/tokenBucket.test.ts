import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTokenBucket } from './tokenBucket.ts'

const options = { capacity: 10, refillMs: 1_000, maxKeys: 100 }

test('a full bucket may be emptied at once, then goes on at its rate', () => {
  let now = 0
  const bucket = createTokenBucket({ ...options, clock: () => now })
  for (let left = 9; left >= 0; left--) expect(bucket.take('a')).toMatchObject({ remaining: left, waitMs: 0 })
  expect(bucket.take('a')).toEqual({ remaining: 0, waitMs: 100, fullInMs: 1_000 })
  expect(bucket.take('b')).toMatchObject({ remaining: 9, waitMs: 0 })
  now = 100
  expect(bucket.take('a')).toMatchObject({ remaining: 0, waitMs: 0 })
  now = 60_000
  expect(bucket.take('a')).toMatchObject({ remaining: 9, waitMs: 0 })
})

test('never more are taken than the bucket held and gained, whatever the clock does', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -500, max: 500 }), { maxLength: 200 }), (steps) => {
      let now = 10_000
      let forward = 0
      let taken = 0
      const bucket = createTokenBucket({ ...options, clock: () => now })
      for (const step of steps) {
        now += step
        forward += Math.max(0, step)
        if (bucket.take('a').waitMs === 0) taken++
      }
      expect(taken).toBeLessThanOrEqual(options.capacity + forward / 100)
    }),
  )
})

test('it remembers so many keys and no more', () => {
  const bucket = createTokenBucket({ ...options, maxKeys: 2, clock: () => 0 })
  for (const key of ['a', 'b', 'c']) bucket.take(key)
  expect(bucket.take('c').remaining).toBe(8)
  expect(bucket.take('a').remaining).toBe(9)
})
