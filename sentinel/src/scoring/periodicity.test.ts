import { describe, expect, test } from 'vitest'
import { createRandom } from '../simulation/createRandom.ts'
import {
  createPeriodicity,
  learnPeriod,
  type Periodicity,
  periodError,
  recallPeriod,
  recallRange,
} from './periodicity.ts'

function learned(length: number, value: (index: number) => number): Periodicity {
  const state = createPeriodicity()
  for (let index = 0; index < length; index++) learnPeriod(state, value(index))
  return state
}

describe('the period is found', () => {
  test.each([12, 37.3, 150])('of a wave of %f points', (period) => {
    expect(learned(1_000, (index) => Math.sin((2 * Math.PI * index) / period)).period).toBeCloseTo(period, 0)
  })

  test('of narrow pulses in noise and on a trend, and not its multiples', () => {
    const random = createRandom(1)
    const { period } = learned(1_000, (index) => (index % 60 < 6 ? 5 : 0) + 0.3 * random.normal() + 0.02 * index)
    expect(period).toBeCloseTo(60, 0)
  })

  test('anew when it changed', () => {
    const state = learned(3_000, (index) => Math.sin((2 * Math.PI * index) / (index < 1_000 ? 40 : 70)))
    expect(state.period).toBeCloseTo(70, 0)
  })
})

describe('no period is found', () => {
  test('in noise, in a wandering level, in a trend, in a constant', () => {
    const [random, steps] = [createRandom(2), createRandom(3)]
    let level = 0
    expect(learned(1_000, () => random.normal()).period).toBe(0)
    expect(learned(1_000, () => (level += steps.normal())).period).toBe(0)
    expect(learned(1_000, (index) => index).period).toBe(0)
    expect(learned(1_000, () => 7).period).toBe(0)
  })

  test('before it was seen three times', () => {
    expect(learned(128, (index) => Math.sin((2 * Math.PI * index) / 60)).period).toBe(0)
  })
})

test('what was one period ago is recalled, and what was around it', () => {
  const state = learned(1_000, (index) => index % 50)
  expect(state.period).toBeCloseTo(50, 1)
  // The next point is the first of a period.
  expect(recallRange(state)).toEqual({ low: 0, high: 49 })
  learnPeriod(state, 0)
  for (let index = 1; index < 25; index++) learnPeriod(state, index)
  expect(recallPeriod(state)).toBeCloseTo(25, 0)
  expect(periodError(state)).toBeLessThan(1)
})

test('the state has a bounded size, and the largest values do no harm', () => {
  const state = learned(5_000, (index) => (index % 7 === 0 ? 1e100 : -1e100))
  expect(state.values).toHaveLength(1_024)
  expect(Number.isFinite(state.period)).toBe(true)
})
