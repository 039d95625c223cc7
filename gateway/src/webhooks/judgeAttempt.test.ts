import { expect, test } from 'vitest'
import { judgeAttempt, maxAttempts } from './judgeAttempt.ts'

const now = new Date('2026-01-01T00:00:00Z')
const judge = (attempts: number, statusCode: number | null, { random = 0.5, most = maxAttempts } = {}) =>
  judgeAttempt({ attempts, maxAttempts: most, statusCode, now, random })

/** Seconds until the next try. */
function waitOf(attempts: number, random: number): number {
  const verdict = judge(attempts, 500, { random })
  if (verdict.state !== 'pending') throw new Error(verdict.state)
  return (verdict.nextAttemptAt.getTime() - now.getTime()) / 1_000
}

test.each([200, 201, 204, 299])('%i is taken', (statusCode) => {
  expect(judge(8, statusCode)).toEqual({ state: 'delivered' })
})

test.each([null, 101, 301, 307, 400, 401, 404, 429, 500, 503])('%s is tried again', (statusCode) => {
  expect(judge(1, statusCode).state).toBe('pending')
})

test('the waits grow fourfold and add up to about a day, whatever the jitter', () => {
  const waits = (random: number) => Array.from({ length: maxAttempts - 1 }, (_, index) => waitOf(index + 1, random))
  expect(waits(0.5)).toEqual([15, 60, 240, 960, 3_840, 15_360, 61_440])
  const hours = (random: number) => waits(random).reduce((sum, wait) => sum + wait, 0) / 3_600
  expect([hours(0), hours(0.5), hours(1)].map(Math.round)).toEqual([18, 23, 27])
})

test('after the last try the event is given up, and the endpoint disabled if it took nothing else', () => {
  expect(judge(maxAttempts, 500)).toEqual({ state: 'failed', disable: 'failures' })
  // A crash can count a try that nobody wrote down.
  expect(judge(maxAttempts + 1, null)).toEqual({ state: 'failed', disable: 'failures' })
})

test('410 disables the endpoint at once', () => {
  expect(judge(1, 410)).toEqual({ state: 'failed', disable: 'gone' })
})

test.each([500, 410, null])('a test event is tried once, and %s disables nothing', (statusCode) => {
  expect(judge(1, statusCode, { most: 1 })).toEqual({ state: 'failed', disable: 'never' })
})
