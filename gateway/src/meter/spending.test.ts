import { expect, test } from 'vitest'
import {
  countSpent,
  exceededSpending,
  nothingSpent,
  type ScopedSpending,
  uncountSpent,
  windowEndMs,
} from './spending.ts'
import { nowMs } from './testing/builders.ts'

const at = (minutes: number) => nowMs + minutes * 60_000
const payee = (limits: ScopedSpending['limits'], spent = nothingSpent): ScopedSpending => ({
  scope: 'payee',
  limits,
  spent,
})

test('windows are whole minutes, hours and days of UTC, each counted by itself', () => {
  let spent = countSpent(nothingSpent, 10n, at(0))
  spent = countSpent(spent, 10n, at(1))
  spent = countSpent(spent, 10n, at(61))
  expect(spent).toMatchObject({
    minute: { calls: 1, amount: 10n },
    hour: { calls: 1, amount: 10n },
    day: { calls: 3, amount: 30n },
  })
  expect(windowEndMs('minute', at(0) + 1)).toBe(at(1))
  expect(windowEndMs('hour', at(59))).toBe(at(60))
  expect(windowEndMs('day', at(0))).toBe(Date.UTC(2026, 0, 2))
})

test('a limit is reached at its last unit, not before', () => {
  const spent = countSpent(countSpent(nothingSpent, 10n, at(0)), 10n, at(0))
  const limitOf = (limits: ScopedSpending['limits'], amount = 10n) =>
    exceededSpending([payee(limits, spent)], amount, at(0))
  expect(limitOf({ maxCallsPerHour: 3, maxAmountPerDay: 30n, maxAmountPerCall: 10n })).toBeUndefined()
  expect(limitOf({ maxCallsPerHour: 2 })).toEqual({ code: 'limit.rate', limit: 'payee_hour' })
  expect(limitOf({ maxAmountPerDay: 29n })).toEqual({ code: 'limit.spend', limit: 'payee_day' })
  expect(limitOf({ maxAmountPerCall: 9n })).toEqual({ code: 'limit.per_call', limit: 'payee_call' })
})

test('of several limits that are reached the one that lasts longest is told', () => {
  const spent = countSpent(nothingSpent, 10n, at(0))
  const all = { maxCallsPerMinute: 1, maxCallsPerHour: 1, maxCallsPerDay: 1 }
  const scopes: ScopedSpending[] = [
    { scope: 'service', limits: { maxCallsPerMinute: 1 }, spent },
    { scope: 'grant', limits: all, spent },
  ]
  expect(exceededSpending(scopes, 10n, at(0))).toMatchObject({ limit: 'grant_day' })
})

test('what a capture gives back can be spent again in the windows that it was counted in, and in no other', () => {
  const spent = countSpent(countSpent(nothingSpent, 30n, at(59)), 20n, at(60))
  expect(uncountSpent(spent, 25n, at(59) / 60_000)).toMatchObject({
    minute: { calls: 1, amount: 20n },
    hour: { calls: 1, amount: 20n },
    day: { calls: 2, amount: 25n },
  })
  expect(uncountSpent(nothingSpent, 5n, 0)).toEqual(nothingSpent)
})

test('a process whose clock is behind counts in the newer window', () => {
  const ahead = countSpent(nothingSpent, 10n, at(60))
  expect(countSpent(ahead, 5n, at(60) - 1)).toMatchObject({ minute: { calls: 2 }, hour: { calls: 2, amount: 15n } })
})
