import { larger } from './larger.ts'
import type { SpendingLimit, SpendingLimits, SpendingScope, SpendingWindow } from './meter.ts'

/** Calls and base units that were counted in one window; `index` counts windows since 1970. */
export type WindowCount = { index: number; calls: number; amount: bigint }
/** What was counted at one service, at one payee, or of the grant altogether. */
export type Spent = Record<SpendingWindow, WindowCount>
export type ScopedSpending = { scope: SpendingScope; limits: SpendingLimits; spent: Spent }

export const windowMinutes: Record<SpendingWindow, number> = { minute: 1, hour: 60, day: 1_440 }
/** The longest first: who is told to wait for a day shall not come back every minute. */
const windows = ['day', 'hour', 'minute'] as const

const nothing: WindowCount = { index: 0, calls: 0, amount: 0n }
export const nothingSpent: Spent = { minute: nothing, hour: nothing, day: nothing }

const limitNames = {
  minute: { calls: 'maxCallsPerMinute', amount: 'maxAmountPerMinute' },
  hour: { calls: 'maxCallsPerHour', amount: 'maxAmountPerHour' },
  day: { calls: 'maxCallsPerDay', amount: 'maxAmountPerDay' },
} as const

export function minuteOf(nowMs: number): number {
  return Math.floor(nowMs / 60_000)
}

/** The first limit that one more call of this amount would go above: per call, then by window and scope. */
export function exceededSpending(
  scopes: readonly ScopedSpending[],
  amount: bigint,
  nowMs: number,
): { code: 'limit.per_call' | 'limit.rate' | 'limit.spend'; limit: SpendingLimit } | undefined {
  for (const { scope, limits } of scopes) {
    if (limits.maxAmountPerCall !== undefined && amount > limits.maxAmountPerCall) {
      return { code: 'limit.per_call', limit: `${scope}_call` }
    }
  }
  for (const window of windows) {
    for (const { scope, limits, spent } of scopes) {
      const now = inWindow(spent[window], indexOf(window, minuteOf(nowMs)))
      const maxCalls = limits[limitNames[window].calls]
      if (maxCalls !== undefined && now.calls >= maxCalls) return { code: 'limit.rate', limit: `${scope}_${window}` }
      const maxAmount = limits[limitNames[window].amount]
      if (maxAmount !== undefined && now.amount + amount > maxAmount) {
        return { code: 'limit.spend', limit: `${scope}_${window}` }
      }
    }
  }
  return undefined
}

/** One more call. */
export function countSpent(spent: Spent, amount: bigint, nowMs: number): Spent {
  const count = (window: SpendingWindow) => {
    const now = inWindow(spent[window], indexOf(window, minuteOf(nowMs)))
    return { ...now, calls: now.calls + 1, amount: now.amount + amount }
  }
  return { minute: count('minute'), hour: count('hour'), day: count('day') }
}

/**
 * A call that was counted in this minute cost `less` less, or nothing. The call still counts; where its window is over
 * nothing changes.
 */
export function uncountSpent(spent: Spent, less: bigint, minute: number): Spent {
  const uncount = (window: SpendingWindow) => {
    const now = spent[window]
    return now.index === indexOf(window, minute) ? { ...now, amount: larger(0n, now.amount - less) } : now
  }
  return { minute: uncount('minute'), hour: uncount('hour'), day: uncount('day') }
}

/** When the window of this moment ends, milliseconds since 1970. */
export function windowEndMs(window: SpendingWindow, nowMs: number): number {
  return (indexOf(window, minuteOf(nowMs)) + 1) * windowMinutes[window] * 60_000
}

function indexOf(window: SpendingWindow, minute: number): number {
  return Math.floor(minute / windowMinutes[window])
}

/** The count of this window. A process whose clock is behind counts in the newer window. */
function inWindow(count: WindowCount, index: number): WindowCount {
  return count.index === index || count.index === index + 1 ? count : { ...nothing, index }
}
