import fc from 'fast-check'
import { expect, test } from 'vitest'
import { judgeSending, maxAlertAttempts, type Sending } from './judgeSending.ts'

const now = new Date('2026-01-01T12:00:00.000Z')
const later: Sending = { ok: false, again: true, error: '451 Later.' }
const waitMs = (sending: Sending, attempts: number, random = 0.5) => {
  const verdict = judgeSending(sending, { attempts, now, random })
  return verdict.state === 'pending' ? verdict.nextAttemptAt.getTime() - now.getTime() : verdict.state
}

test('waits grow threefold from two seconds to an hour, for about a day, and then it is given up', () => {
  expect([1, 2, 3, 4].map((attempts) => waitMs(later, attempts))).toEqual([2_000, 6_000, 18_000, 54_000])
  expect(waitMs(later, 12)).toBe(3_600_000)
  let total = 0
  for (let attempts = 1; attempts < maxAlertAttempts; attempts++) total += Number(waitMs(later, attempts))
  expect(total / 3_600_000).toBeGreaterThan(20)
  expect(total / 3_600_000).toBeLessThan(28)
  expect(judgeSending(later, { attempts: maxAlertAttempts, now, random: 0 })).toEqual({
    state: 'failed',
    error: '451 Later.',
  })
})

test('who says when is asked then, and within an hour', () => {
  expect(waitMs({ ...later, afterMs: 40_000 }, 1)).toBe(40_000)
  expect(waitMs({ ...later, afterMs: 1 }, 1)).toBe(2_000)
  expect(waitMs({ ...later, afterMs: 1e12 }, 1)).toBe(3_600_000)
})

test('whatever happens the next try is in the future and bounded', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 29 }), fc.double({ min: 0, max: 1, noNaN: true }), (attempts, random) => {
      const wait = waitMs(later, attempts, random)
      expect(wait).toBeGreaterThan(1_000)
      expect(wait).toBeLessThanOrEqual(3_600_000 * 1.2)
    }),
  )
})

test('what is final ends the message, and the channel where nothing else would arrive there either', () => {
  const final = { ok: false, again: false, error: 'no' } as const
  expect(judgeSending(final, { attempts: 1, now, random: 0 })).toEqual({ state: 'failed', error: 'no' })
  expect(judgeSending({ ...final, channel: 'refused' }, { attempts: 1, now, random: 0 })).toEqual({
    state: 'failed',
    error: 'no',
    disable: 'refused',
  })
  expect(judgeSending({ ok: true }, { attempts: 1, now, random: 0 })).toEqual({ state: 'delivered' })
})
