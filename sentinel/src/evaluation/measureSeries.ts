import { alarmScore, type Detector, type Point } from '../scoring/detector.ts'
import { createSeriesState, observeSeries } from '../scoring/seriesScorer.ts'
import { seedsFrom } from '../simulation/seeds.ts'
import type { SeriesKind } from './series/seriesKind.ts'
import { seriesMethods } from './series/seriesMethods.ts'
import { addSeries, emptySeriesMetrics, type SeriesMetrics } from './series/seriesMetrics.ts'
import { syntheticSeries } from './series/syntheticSeries.ts'

export type SeriesReport = {
  method: string
  series: number
  windows: number
  precision: number
  recall: number
  f1: number
  falseAlarmsPer1000Points: number
  /** Standard profile of the Numenta Anomaly Benchmark: 0 for no alarm at all, 100 for every window at its begin. */
  nab: number
  medianDelayPoints: number | null
  microsecondsPerPoint: number
}

/** Every method on the same series. `seriesScorer`, the last, is what `scoreSeries` and `scoreCsv` do. */
export function measureSeries(kinds: readonly SeriesKind[], firstSeed: number, seedsPerKind: number): SeriesReport[] {
  const all = kinds.flatMap((kind) => seedsFrom(firstSeed, seedsPerKind).map((seed) => syntheticSeries(kind, seed)))
  const methods = [...seriesMethods.map((detector) => ({ name: detector.name, alarms: alarmsOf(detector) })), chosen]
  return methods.map(({ name, alarms }) => {
    const metrics = emptySeriesMetrics()
    let [elapsedMs, points] = [0, 0]
    for (const series of all) {
      const startedMs = performance.now()
      const flags = alarms(series.points)
      elapsedMs += performance.now() - startedMs
      points += series.points.length
      addSeries(metrics, series, flags)
    }
    return { ...report(name, all.length, metrics), microsecondsPerPoint: (elapsedMs * 1_000) / points }
  })
}

const chosen = {
  name: 'seriesScorer',
  alarms(points: readonly Point[]) {
    const state = createSeriesState()
    return points.map((point) => observeSeries(state, point).alarm)
  },
}

/** With the cooldown of the series scorer, so that methods are compared and not cooldowns. */
function alarmsOf(detector: Detector<unknown>): (points: readonly Point[]) => boolean[] {
  return (points) => {
    const state = detector.createState()
    let cooldown = 0
    return points.map((point) => {
      const score = detector.score(state, point)
      detector.learn(state, point)
      if (score < alarmScore) {
        cooldown = Math.max(0, cooldown - 1)
        return false
      }
      const alarm = cooldown === 0
      cooldown = 30
      return alarm
    })
  }
}

function report(method: string, series: number, metrics: SeriesMetrics): Omit<SeriesReport, 'microsecondsPerPoint'> {
  const { windows, caught, falseAlarms, normalPoints, delays, nab, nabBest } = metrics
  const sorted = [...delays].sort((a, b) => a - b)
  return {
    method,
    series,
    windows,
    precision: caught / Math.max(caught + falseAlarms, 1),
    recall: caught / windows,
    f1: (2 * caught) / (caught + falseAlarms + windows),
    falseAlarmsPer1000Points: (falseAlarms / normalPoints) * 1_000,
    nab: 50 * (nab / nabBest + 1),
    medianDelayPoints: sorted[Math.floor(sorted.length / 2)] ?? null,
  }
}
