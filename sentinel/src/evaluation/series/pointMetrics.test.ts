import { expect, test } from 'vitest'
import { addPoints, emptyPointMetrics, type PointMetrics, pointRates } from './pointMetrics.ts'

const points = Array.from({ length: 1_000 }, (_, index) => ({ timestampMs: index, value: 0 }))
const series = { kind: 'test', points, windows: [{ first: 500, changed: 509, last: 549, anomaly: 'surge' }] }

function measured(score: (index: number) => number): PointMetrics {
  const metrics = emptyPointMetrics()
  addPoints(
    metrics,
    series,
    points.map((_, index) => score(index)),
  )
  return metrics
}

test('one mark of ten points is a tenth strictly, all of them adjusted, and the range', () => {
  const rates = pointRates(measured((index) => (index === 505 ? 0.9 : 0)))
  expect(rates.strict).toMatchObject({ precision: 1, recall: 0.1 })
  expect(rates.adjusted).toEqual({ precision: 1, recall: 1, f1: 1 })
  expect(rates.ranges).toEqual({ precision: 1, recall: 1, f1: 1 })
})

test('a mark behind the anomaly but within its window catches the range, and is a false point', () => {
  const rates = pointRates(measured((index) => (index === 530 ? 0.9 : 0)))
  expect(rates.strict).toMatchObject({ precision: 0, recall: 0 })
  expect(rates.ranges).toEqual({ precision: 1, recall: 1, f1: 1 })
})

test('marks next to each other are one false run, and none counts in the probation', () => {
  const metrics = measured((index) => (index === 100 || (index >= 700 && index < 720) || index === 900 ? 0.9 : 0))
  expect(metrics).toMatchObject({ falsePoints: 21, falseRuns: 2 })
})

test('the areas are 1 for scores that rank every anomalous point first, a half for scores that say nothing', () => {
  expect(measured((index) => (index >= 500 && index < 510 ? 0.2 : 0.1))).toMatchObject({
    aucSum: 1,
    averagePrecisionSum: 1,
    rated: 1,
  })
  const nothing = measured(() => 0.3)
  expect(nothing.aucSum).toBe(0.5)
  expect(nothing.averagePrecisionSum).toBeCloseTo(10 / 850, 9)
  expect(measured((index) => (index >= 500 && index < 510 ? 0 : 0.1)).aucSum).toBe(0)
})
