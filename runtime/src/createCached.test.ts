import { expect, test } from 'vitest'
import { createCached } from './createCached.ts'

function arrange(read: () => Promise<number>) {
  const state = { nowMs: 1_000_000, reads: 0, errors: 0 }
  const cached = createCached({
    read: () => {
      state.reads++
      return read()
    },
    maxAgeMs: 5_000,
    timeoutMs: 20,
    clock: () => state.nowMs,
    onError: () => state.errors++,
  })
  return { state, cached }
}

test('many that ask at once cost one reading, and it is kept for its age', async () => {
  let value = 0
  const { state, cached } = arrange(async () => ++value)
  expect(await Promise.all(Array.from({ length: 50 }, () => cached.get()))).toEqual(Array(50).fill(1))
  state.nowMs += 4_999
  expect([await cached.get(), state.reads, cached.ageMs()]).toEqual([1, 1, 4_999])
  state.nowMs += 1
  expect([await cached.get(), state.reads, cached.ageMs()]).toEqual([2, 2, 0])
})

test('what cannot be read is the last value, older and older, and is not asked for more often', async () => {
  let isGone = false
  const { state, cached } = arrange(async () => {
    if (isGone) throw new Error('gone')
    return 7
  })
  expect(await cached.get()).toBe(7)
  isGone = true
  for (let passed = 0; passed < 10_000; passed += 1_000) {
    state.nowMs += 1_000
    expect(await cached.get()).toBe(7)
  }
  expect({ reads: state.reads, errors: state.errors, ageMs: cached.ageMs() }).toEqual({
    reads: 3,
    errors: 2,
    ageMs: 10_000,
  })
})

test('before the first value there is none, and nobody waits longer than the time-out', async () => {
  const { cached } = arrange(() => new Promise(() => {}))
  expect(await cached.get()).toBeUndefined()
  expect(cached.ageMs()).toBe(Number.POSITIVE_INFINITY)
})
