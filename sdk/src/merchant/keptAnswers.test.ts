import { expect, test } from 'vitest'
import { createKeptAnswers } from './keptAnswers.ts'

function answer(length: number) {
  return { status: 200, headers: [] as [string, string][], body: new Uint8Array(length) }
}

test('an answer is given until its time is over', () => {
  let nowMs = 0
  const kept = createKeptAnswers({ maxBytes: 10_000, ttlMs: 100, clock: () => nowMs })
  kept.set('a', answer(1))
  nowMs = 99
  expect(kept.get('a')).toEqual(answer(1))
  nowMs = 100
  expect(kept.get('a')).toBe(undefined)
  expect(kept.bytes()).toBe(0)
})

test('memory is bounded: the oldest go first, and one that is too large is not kept at all', () => {
  const kept = createKeptAnswers({ maxBytes: 4_000, ttlMs: 100, clock: () => 0 })
  for (let key = 0; key < 1_000; key++) {
    kept.set(`k${key}`, answer(1_000))
    expect(kept.bytes()).toBeLessThanOrEqual(4_000)
  }
  expect(kept.get('k999')).toBeDefined()
  expect(kept.get('k990')).toBe(undefined)
  kept.set('large', answer(4_001))
  expect(kept.get('large')).toBe(undefined)
  expect(kept.get('k999')).toBeDefined()
})

test('an answer that is set again counts once', () => {
  const kept = createKeptAnswers({ maxBytes: 4_000, ttlMs: 100, clock: () => 0 })
  kept.set('a', answer(1_000))
  const before = kept.bytes()
  kept.set('a', answer(500))
  expect(kept.bytes()).toBe(before - 500)
})
