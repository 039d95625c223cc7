import { describe, expect, test } from 'vitest'
import { heldOutKinds } from './heldOutKinds.ts'
import { addSeries, emptySeriesMetrics } from './seriesMetrics.ts'
import { syntheticSeries } from './syntheticSeries.ts'
import { tuningKinds } from './tuningKinds.ts'

test('no kind is both tuned on and held out', () => {
  const tuned = tuningKinds.map(({ name }) => name)
  expect(heldOutKinds.filter(({ name }) => tuned.includes(name))).toEqual([])
})

describe.each([...tuningKinds, ...heldOutKinds].map((kind) => [kind.name, kind] as const))('%s', (_, kind) => {
  test('is the same again, finite, in order, and labelled within itself', () => {
    for (const seed of [1, 2, 3]) {
      const { points, windows } = syntheticSeries(kind, seed)
      expect(syntheticSeries(kind, seed).points).toEqual(points)
      expect(points.every(({ value }) => Number.isFinite(value))).toBe(true)
      expect(points.every(({ timestampMs }, index) => timestampMs > (points[index - 1]?.timestampMs ?? 0))).toBe(true)
      for (const { first, changed, last } of windows) {
        expect(first).toBeGreaterThan(points.length * 0.2)
        expect(changed).toBeGreaterThanOrEqual(first)
        expect(last).toBeGreaterThanOrEqual(changed)
        expect(last).toBeLessThan(points.length)
      }
    }
  })
})

describe('the score of the Numenta Anomaly Benchmark', () => {
  const points = Array.from({ length: 1_000 }, (_, index) => ({ timestampMs: index, value: 0 }))
  const series = { kind: 'test', points, windows: [{ first: 500, changed: 500, last: 549, anomaly: 'spike' }] }
  const nabOf = (...alarms: number[]) => {
    const metrics = emptySeriesMetrics()
    addSeries(
      metrics,
      series,
      points.map((_, index) => alarms.includes(index)),
    )
    return metrics.nab
  }

  test('is 1 at the begin of a window, about 0 at its end, -1 without an alarm', () => {
    expect(nabOf(500)).toBeCloseTo(1, 1)
    expect(nabOf(549)).toBeCloseTo(0, 1)
    expect(nabOf()).toBe(-1)
  })

  test('takes 0.11 for an alarm far from any window, next to nothing right behind one, and nothing in the probation', () => {
    expect(nabOf(500, 900)).toBeCloseTo(nabOf(500) - 0.11, 3)
    expect(nabOf(500, 300)).toBeCloseTo(nabOf(500) - 0.11, 3)
    expect(nabOf(500, 551)).toBeGreaterThan(nabOf(500) - 0.03)
    expect(nabOf(500, 100)).toBe(nabOf(500))
  })

  test('counts the first alarm of a window alone', () => {
    expect(nabOf(500, 510, 520)).toBe(nabOf(500))
  })
})
