import { expect, test } from 'vitest'
import { retryDelayMs, sleep } from './retry.ts'

test.each([
  [1, 0, 100],
  [1, 1, 200],
  [2, 0.5, 300],
  [20, 1, 5_000],
])('try %i with random %d waits %d ms', (tries, random, delayMs) => {
  expect(retryDelayMs(tries, null, 0, random)).toBe(delayMs)
})

test.each([
  ['2', 2_000],
  ['Thu, 01 Jan 1970 00:00:03 GMT', 3_000],
  ['Thu, 01 Jan 1960 00:00:03 GMT', 100],
  ['soon', 100],
  ['0', 100],
])('Retry-After %j waits %d ms', (retryAfter, delayMs) => {
  expect(retryDelayMs(1, retryAfter, 0, 0)).toBe(delayMs)
})

test('a server that asks for more than 30 s is not waited for', () => {
  expect(retryDelayMs(1, '31', 0, 0)).toBe(undefined)
})

test('sleep ends at once with the reason of an abort', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const sleeping = sleep(60_000, controller.signal)
  controller.abort(reason)
  await expect(sleeping).rejects.toBe(reason)
  await expect(sleep(60_000, controller.signal)).rejects.toBe(reason)
})
