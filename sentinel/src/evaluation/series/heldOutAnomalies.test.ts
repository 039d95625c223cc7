import { expect, test } from 'vitest'
import { heldOutKinds } from './heldOutKinds.ts'
import { syntheticSeries } from './syntheticSeries.ts'

test('every kind of anomaly is among the held-out series', () => {
  const kinds = heldOutKinds.flatMap((kind) =>
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].flatMap((seed) =>
      syntheticSeries(kind, seed).windows.map(({ anomaly }) => anomaly),
    ),
  )
  expect([...new Set(kinds)].sort()).toEqual([
    'contextual',
    'dip',
    'flat line',
    'level shift',
    'missing as zero',
    'seasonality break',
    'spike',
    'trend break',
    'variance change',
  ])
})

test('labels stay with their points where others are lost', () => {
  const gaps = heldOutKinds.find(({ name }) => name === 'readings with gaps')
  if (!gaps) throw new Error('there is no kind with gaps')
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const { points, windows } = syntheticSeries(gaps, seed)
    const steps = new Set(
      points.slice(1).map(({ timestampMs }, index) => timestampMs - (points[index]?.timestampMs ?? 0)),
    )
    expect(steps.size).toBeGreaterThan(1)
    for (const { first, changed, last } of windows) {
      expect(changed).toBeGreaterThanOrEqual(first)
      expect(last).toBeGreaterThanOrEqual(changed)
      expect(last).toBeLessThan(points.length)
    }
  }
})
