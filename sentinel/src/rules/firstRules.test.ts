import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { applyRules, createRulesState, type Finding, firstRules, type RulesEvent } from './firstRules.ts'

const startMs = Date.UTC(2026, 0, 1)
const plenty = { remainingBudgetAtomic: 1_000_000n, budgetAtomic: 1_000_000n }
const charge = (atMs: number, amountAtomic: bigint, more: Partial<RulesEvent> = {}): RulesEvent => ({
  atMs,
  amountAtomic,
  ...plenty,
  ...more,
})

function findingsOf(events: readonly RulesEvent[]): Finding[][] {
  const state = createRulesState()
  return events.map((event) => applyRules(state, event, firstRules))
}

const rulesOf = (events: readonly RulesEvent[]) => findingsOf(events).flatMap((found) => found.map(({ rule }) => rule))
const every = (count: number, gapMs: number, amountAtomic: bigint) =>
  Array.from({ length: count }, (_, index) => charge(startMs + index * gapMs, amountAtomic))

describe('one payment above ten times the average', () => {
  const usual = every(50, 60_000, 1_000n)
  const next = (amountAtomic: bigint) => charge(startMs + 51 * 60_000, amountAtomic)

  test('is found, with what it was compared to', () => {
    expect(findingsOf([...usual, next(10_001n)]).at(-1)).toEqual([
      { rule: 'amount.above_average', action: 'freeze', amountAtomic: 10_001n, averageAtomic: 1_000n },
    ])
  })

  test('is not found at ten times exactly', () => {
    expect(rulesOf([...usual, next(10_000n)])).toEqual([])
  })

  test('does not freeze a new grant for its first bigger call', () => {
    expect(rulesOf([...every(19, 60_000, 1_000n), charge(startMs + 20 * 60_000, 1_000_000n)])).toEqual([])
  })

  test('is familiar when something as large stood before', () => {
    expect(rulesOf([...usual, next(50_000n), next(50_000n)])).toEqual(['amount.above_average'])
  })

  test('is found among amounts beyond what a double holds', () => {
    const unit = 10n ** 30n
    expect(rulesOf([...every(50, 60_000, unit), charge(startMs + 51 * 60_000, 10n * unit + 1n)])).toEqual([
      'amount.above_average',
    ])
  })

  test('says exactly what the definition says, for any history', () => {
    const amounts = fc.array(fc.bigInt({ min: 0n, max: 10n ** 12n }), { minLength: 1, maxLength: 60 })
    fc.assert(
      fc.property(amounts, (history) => {
        const found = findingsOf(history.map((amount, index) => charge(startMs + index * 60_000, amount)))
        history.forEach((amount, index) => {
          const before = history.slice(0, index)
          const sum = before.reduce((total, one) => total + one, 0n)
          const isFamiliar = before.some((one) => amount <= 5n * one)
          const expected = index >= 20 && sum > 0n && amount * BigInt(index) > 10n * sum && !isFamiliar
          expect(found[index]?.some(({ rule }) => rule === 'amount.above_average')).toBe(expected)
        })
      }),
    )
  })
})

describe('more than 100 calls in a minute', () => {
  const warmUp = [charge(startMs, 1n)]
  const burst = (count: number, gapMs: number) =>
    Array.from({ length: count }, (_, index) => charge(startMs + 3_600_000 + index * gapMs, 1n))

  test('are found at the call that is the 101st', () => {
    const found = findingsOf([...warmUp, ...burst(101, 100)])
    expect(found.findIndex((one) => one.length > 0)).toBe(101)
    expect(found.at(-1)).toEqual([
      { rule: 'calls.per_minute', action: 'freeze', calls: 101, sinceMs: startMs + 3_600_000 },
    ])
  })

  test('are found across the turn of a minute of the clock', () => {
    const turn = startMs + 3_600_000 - 5_000
    const across = Array.from({ length: 101 }, (_, index) => charge(turn + index * 100, 1n))
    expect(rulesOf([...warmUp, ...across])).toEqual(['calls.per_minute'])
  })

  test('are 100 or fewer: nothing', () => {
    expect(rulesOf([...warmUp, ...burst(100, 100)])).toEqual([])
    expect(rulesOf([...warmUp, ...burst(2_000, 600)])).toEqual([])
  })

  test('do not freeze a grant that begins with a burst', () => {
    expect(rulesOf(every(500, 100, 1n))).toEqual([])
  })

  test('say exactly what counting says, for any times', () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 2_000 }), { minLength: 100, maxLength: 300 })
    fc.assert(
      fc.property(gaps, (between) => {
        let atMs = startMs + 3_600_000
        const times = [startMs, ...between.map((gap) => (atMs += gap))]
        const found = findingsOf(times.map((time) => charge(time, 1n)))
        times.forEach((time, index) => {
          const inMinute = times.slice(0, index + 1).filter((one) => time - one < 60_000).length
          expect(found[index]?.some(({ rule }) => rule === 'calls.per_minute')).toBe(inMinute > 100)
        })
      }),
      { numRuns: 50 },
    )
  })
})

describe('less than a tenth left', () => {
  const used = (remaining: bigint) => charge(startMs, 1n, { remainingBudgetAtomic: remaining, budgetAtomic: 1_000n })
  const funded = (fundsAtomic: bigint) => charge(startMs, 1n, { fundsAtomic })
  const warmUp = [used(1_000n), used(900n), used(800n)]

  test('of the budget alerts once, below ten per cent and not at it', () => {
    expect(rulesOf([...warmUp, used(100n)])).toEqual([])
    expect(rulesOf([...warmUp, used(99n), used(98n), used(0n)])).toEqual(['budget.low'])
  })

  test('never freezes', () => {
    const found = findingsOf([...warmUp, used(0n), funded(1_000n), funded(1n)]).flat()
    expect(found.map(({ action }) => action)).toEqual(['alert', 'alert'])
  })

  test('of the budget alerts again after it was raised', () => {
    expect(rulesOf([...warmUp, used(50n), used(120n), used(50n), used(150n), used(50n)])).toEqual([
      'budget.low',
      'budget.low',
    ])
  })

  test('of the funds alerts by the most there was, and anew after money came in', () => {
    const start = [funded(1_000n), funded(1_000n), funded(1_000n)]
    expect(rulesOf([...start, funded(100n)])).toEqual([])
    expect(rulesOf([...start, funded(99n), funded(50n), funded(500n), funded(49n)])).toEqual(['funds.low', 'funds.low'])
  })

  test('says nothing of funds that are not known', () => {
    expect(rulesOf(every(200, 60_000, 1n))).toEqual([])
  })

  test('does not alert at the first calls of a grant that is nearly used up by one', () => {
    expect(rulesOf([used(10n)])).toEqual([])
  })
})

test('the state has a bounded size, however many calls', () => {
  const state = createRulesState()
  for (const event of every(5_000, 10, 1n)) applyRules(state, event, firstRules)
  expect(state.newestMs).toHaveLength(100)
  expect(Object.keys(state)).toHaveLength(10)
})

test('events out of order count as of the latest moment', () => {
  const late = [
    charge(startMs, 1n),
    ...Array.from({ length: 101 }, (_, index) => charge(startMs + 3_600_000 - index, 1n)),
  ]
  expect(rulesOf(late)).toEqual(['calls.per_minute'])
})
