import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../simulation/createRandom.ts'
import { alarmScore, type Point } from './detector.ts'
import { scoreSeries } from './scoreSeries.ts'
import { createSeriesState, observeSeries } from './seriesScorer.ts'

const hourMs = 3_600_000
const startMs = Date.UTC(2026, 0, 5)

function series(length: number, intervalMs: number, value: (index: number, atMs: number) => number): Point[] {
  return Array.from({ length }, (_, index) => {
    const timestampMs = startMs + index * intervalMs
    return { timestampMs, value: value(index, timestampMs) }
  })
}

const highest = (scores: readonly number[]) => Math.max(...scores)
const alarmsOf = (points: readonly Point[]) => {
  const state = createSeriesState()
  return points.flatMap((point, index) => (observeSeries(state, point).alarm ? [index] : []))
}

describe('left alone', () => {
  test('a daily and weekly rhythm, once three weekends were seen', () => {
    const random = createRandom(1)
    const points = series(6 * 7 * 24, hourMs, (_, atMs) => {
      const weekend = [0, 6].includes(new Date(atMs).getUTCDay()) ? 0.4 : 1
      return 100 * weekend * (1.2 + Math.sin((2 * Math.PI * atMs) / (24 * hourMs))) + 5 * random.normal()
    })
    expect(alarmsOf(points).filter((index) => index >= 21 * 24)).toEqual([])
  })

  test('a wave of any period', () => {
    const random = createRandom(2)
    const points = series(3_000, 1_000, (index) => Math.sin(index / 9) + 0.05 * random.normal())
    expect(alarmsOf(points)).toEqual([])
  })

  test('a constant, and a constant with one rounding error', () => {
    expect(highest(scoreSeries(series(1_000, 1_000, () => 5)))).toBeLessThan(alarmScore)
    expect(alarmsOf(series(1_000, 1_000, (index) => (index === 300 ? 5 + 1e-15 : 5)))).toEqual([])
  })

  test('a growing trend', () => {
    const random = createRandom(3)
    expect(alarmsOf(series(3_000, 60_000, (index) => index * 0.05 + random.normal()))).toEqual([])
  })
})

describe('raised', () => {
  const noise = (seed: number) => {
    const random = createRandom(seed)
    return () => 50 + random.normal()
  }

  test('at once by a spike, up or down', () => {
    for (const size of [12, -12]) {
      const value = noise(4)
      const points = series(1_200, 60_000, (index) => value() + (index === 1_000 ? size : 0))
      expect(alarmsOf(points)).toEqual([1_000])
    }
  })

  test('within a few points by a level that shifts', () => {
    const value = noise(5)
    const [first] = alarmsOf(series(1_200, 60_000, (index) => value() + (index >= 1_000 ? 6 : 0)))
    expect(first).toBeGreaterThanOrEqual(1_000)
    expect(first).toBeLessThan(1_010)
  })

  test('by a vertical climb of counts that are nearly always zero', () => {
    const random = createRandom(6)
    const points = series(2_000, 60_000, (index) =>
      index >= 1_800 && index < 1_830 ? 30 + random.poisson(20) : random.poisson(0.1),
    )
    const [first] = alarmsOf(points)
    expect(first).toBe(1_800)
  })

  test('by a line that goes flat', () => {
    const value = noise(7)
    const [first] = alarmsOf(series(1_500, 60_000, (index) => (index >= 1_200 ? 50 : value())))
    expect(first).toBeGreaterThan(1_200)
    expect(first).toBeLessThan(1_280)
  })

  test('by points that come many times faster, whatever their values', () => {
    const [random, pace] = [createRandom(8), createRandom(9)]
    let atMs = startMs
    const points = Array.from({ length: 1_500 }, (_, index) => {
      atMs += Math.ceil(pace.exponential(index >= 1_200 ? 100 : 60_000))
      return { timestampMs: atMs, value: random.logNormal(1, 0.3) }
    })
    const [first] = alarmsOf(points)
    expect(first).toBeGreaterThanOrEqual(1_200)
    expect(first).toBeLessThan(1_220)
  })

  test('once, while it goes on', () => {
    const value = noise(10)
    const points = series(1_100, 60_000, (index) => value() + (index >= 1_000 && index < 1_020 ? 30 : 0))
    expect(alarmsOf(points)).toEqual([1_000])
  })
})

describe('always', () => {
  const anything = fc.array(fc.tuple(fc.integer({ min: -1_000, max: 100_000 }), fc.double()), { maxLength: 150 })

  test('one score a point, in [0, 1), whatever the values and times', () => {
    fc.assert(
      fc.property(anything, (raw) => {
        const scores = scoreSeries(raw.map(([timestampMs, value]) => ({ timestampMs, value })))
        expect(scores).toHaveLength(raw.length)
        for (const score of scores) expect(score >= 0 && score < 1).toBe(true)
      }),
    )
  })

  test('a score depends on no later point', () => {
    fc.assert(
      fc.property(anything, fc.nat(150), (raw, cut) => {
        const points = raw.map(([timestampMs, value]) => ({ timestampMs, value }))
        expect(scoreSeries(points.slice(0, cut))).toEqual(scoreSeries(points).slice(0, cut))
      }),
    )
  })

  test('the unit of the values does not matter', () => {
    const make = (unit: number) => {
      const random = createRandom(11)
      return series(800, 60_000, (index) => unit * (20 + random.normal() + (index === 700 ? 15 : 0)))
    }
    // Powers of two, so that not even rounding differs.
    const expected = scoreSeries(make(1))
    for (const unit of [2 ** -40, 2 ** 60]) expect(scoreSeries(make(unit))).toEqual(expected)
    expect(expected[700]).toBeGreaterThan(alarmScore)
  })

  test('a missing value scores 0 and changes nothing', () => {
    const random = createRandom(12)
    const points = series(300, 60_000, () => random.normal())
    const holes = points.flatMap((point) => [point, { timestampMs: point.timestampMs, value: Number.NaN }])
    expect(scoreSeries(holes).filter((_, index) => index % 2 === 1)).toEqual(new Array(300).fill(0))
    expect(scoreSeries(holes).filter((_, index) => index % 2 === 0)).toEqual(scoreSeries(points))
  })
})
