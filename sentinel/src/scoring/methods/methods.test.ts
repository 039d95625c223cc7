import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../../simulation/createRandom.ts'
import { alarmScore, type Detector, type Point } from '../detector.ts'
import { createCusum } from './cusum.ts'
import { createDailyPeaks } from './dailyPeaks.ts'
import { createEwmaZScore } from './ewmaZScore.ts'
import { createPeaks } from './peaks.ts'
import { createRecords } from './records.ts'
import { createRobustZScore } from './robustZScore.ts'
import { createRollingZScore } from './rollingZScore.ts'
import { createSeasonalZScore } from './seasonalZScore.ts'
import { createSurprise, seriesOptions } from './surprise.ts'

const zScore = { direction: 'both', leastSpread: 0, warmUpPoints: 50, alarmDeviations: 6 } as const
const detectors: readonly Detector<unknown>[] = [
  createRollingZScore(zScore),
  createEwmaZScore(zScore),
  createRobustZScore({ ...zScore, alarmDeviations: 8 }),
  createSeasonalZScore(zScore),
  createCusum({ ...zScore, alarmDeviations: 15 }),
  createPeaks(seriesOptions),
  createDailyPeaks(seriesOptions),
  createRecords({ warmUpPoints: 50, alarmEvidence: 6 }),
  createSurprise(seriesOptions),
]

const minuteMs = 60_000
const value = fc.oneof(
  fc.double({ min: -1e100, max: 1e100, noNaN: true }),
  fc.constant(0),
  fc.constant(7),
  fc.integer(),
)
/** Any finite values, and any gaps between them, none included. */
const anything = fc
  .array(fc.tuple(fc.oneof(fc.constant(minuteMs), fc.nat(1e10)), value), { maxLength: 150 })
  .map((steps) => {
    let timestampMs = Date.UTC(2026, 0, 1)
    return steps.map(([gapMs, one]): Point => {
      timestampMs += gapMs
      return { timestampMs, value: one }
    })
  })

function observe(detector: Detector<unknown>, state: unknown, point: Point): number {
  const score = detector.score(state, point)
  detector.learn(state, point)
  return score
}

/** Normal noise, sampled every ten minutes, so that a day's profile is soon known. */
function noise(length: number, seed: number): Point[] {
  const random = createRandom(seed)
  const startMs = Date.UTC(2026, 0, 1)
  return Array.from({ length }, (_, index) => ({
    timestampMs: startMs + index * 10 * minuteMs,
    value: 100 + random.normal(),
  }))
}

describe.each(detectors.map((detector) => [detector.name, detector] as const))('%s', (_, detector) => {
  test('scores are in [0, 1) and the state stays finite for any values, and the same again', () => {
    fc.assert(
      fc.property(anything, (points) => {
        const [state, twin] = [detector.createState(), detector.createState()]
        for (const point of points) {
          const score = observe(detector, state, point)
          expect(score >= 0 && score < 1).toBe(true)
          expect(observe(detector, twin, point)).toBe(score)
        }
        expect(numbersOf(state).every(Number.isFinite)).toBe(true)
      }),
    )
  })

  test('scoring does not change the state', () => {
    fc.assert(
      fc.property(anything, value, (points, next) => {
        const state = detector.createState()
        for (const point of points) detector.learn(state, point)
        const before = JSON.stringify(state)
        detector.score(state, { timestampMs: (points.at(-1)?.timestampMs ?? 0) + minuteMs, value: next })
        expect(JSON.stringify(state)).toBe(before)
      }),
    )
  })

  test('a state that was stored as JSON goes on as if it had not been', () => {
    const points = noise(400, 1)
    const state = detector.createState()
    for (const point of points.slice(0, 200)) detector.learn(state, point)
    const restored: unknown = JSON.parse(JSON.stringify(state))
    for (const point of points.slice(200)) {
      expect(observe(detector, restored, point)).toBe(observe(detector, state, point))
    }
  })

  test('the state has a bounded size, however long the series', () => {
    const state = detector.createState()
    for (const point of noise(30_000, 2)) observe(detector, state, point)
    expect(numbersOf(state).length).toBeLessThan(1_800)
  })

  test('a value of many times the usual, for an hour, is an alarm; noise before it is not', () => {
    const points = noise(1_500, 3)
    const state = detector.createState()
    const before = points.map((point) => observe(detector, state, point))
    expect(Math.max(...before)).toBeLessThan(alarmScore)
    const lastMs = points.at(-1)?.timestampMs ?? 0
    const during = [1, 2, 3, 4, 5, 6].map((step) =>
      observe(detector, state, { timestampMs: lastMs + step * 10 * minuteMs, value: 180 }),
    )
    expect(Math.max(...during)).toBeGreaterThan(alarmScore)
  })
})

function numbersOf(value: unknown): number[] {
  if (typeof value === 'number') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(numbersOf)
}
