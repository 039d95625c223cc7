import { alarmScore, type Detector, type Point } from '../scoring/detector.ts'
import { scoreSeries } from '../scoring/scoreSeries.ts'
import { cooldownPoints } from '../scoring/seriesScorer.ts'
import { seedsFrom } from '../simulation/seeds.ts'
import { addPoints, emptyPointMetrics, type PointMetrics, pointRates, type Rates } from './series/pointMetrics.ts'
import type { SeriesKind } from './series/seriesKind.ts'
import { seriesMethods } from './series/seriesMethods.ts'
import { addSeries, emptySeriesMetrics, type SeriesMetrics } from './series/seriesMetrics.ts'
import { type LabelledSeries, syntheticSeries } from './series/syntheticSeries.ts'

export type SeriesReport = {
  method: string
  series: number
  anomalies: number
  /** Of points by their labels, of points with every anomaly taken as a whole, and of anomalies and runs of marks. */
  strict: Rates
  adjusted: Rates
  ranges: Rates
  /** Means over the series with an anomaly. */
  auc: number
  averagePrecision: number
  falseAlarmsPer1000Points: number
  /** Standard profile of the Numenta Anomaly Benchmark: 0 for no alarm at all, 100 for every window at its begin. */
  nab: number
  medianDelayPoints: number | null
  microsecondsPerPoint: number
}

/** Caught and all, by the kind of anomaly or of series; for a kind of series also its false runs. */
export type Breakdown = Record<string, { caught: number; anomalies: number; falseRuns?: number }>

type Method = { name: string; scores(points: readonly Point[]): number[] }

/** What `scoreSeries` and `scoreCsv` do. */
const chosen: Method = { name: 'chosen', scores: scoreSeries }

/** Every method on the same series; the chosen one is the last. */
export function measureSeries(kinds: readonly SeriesKind[], firstSeed: number, seedsPerKind: number): SeriesReport[] {
  const all = kinds.flatMap((kind) => seedsFrom(firstSeed, seedsPerKind).map((seed) => syntheticSeries(kind, seed)))
  return [...seriesMethods.map(methodOf), chosen].map((method) => measure(method, all))
}

/** Where the chosen method is strong and weak. */
export function breakDownSeries(
  kinds: readonly SeriesKind[],
  firstSeed: number,
  seedsPerKind: number,
): { byKind: Breakdown; byAnomaly: Breakdown } {
  const [byKind, byAnomaly]: [Breakdown, Breakdown] = [{}, {}]
  for (const kind of kinds) {
    const metrics = emptyPointMetrics()
    for (const seed of seedsFrom(firstSeed, seedsPerKind)) {
      const series = syntheticSeries(kind, seed)
      const scores = chosen.scores(series.points)
      addPoints(metrics, series, scores)
      for (const { first, last, anomaly } of series.windows) {
        const row = byAnomaly[anomaly] ?? { caught: 0, anomalies: 0 }
        byAnomaly[anomaly] = row
        row.anomalies++
        if (scores.slice(first, last + 1).some((score) => score >= alarmScore)) row.caught++
      }
    }
    byKind[kind.name] = { caught: metrics.caughtRanges, anomalies: metrics.ranges, falseRuns: metrics.falseRuns }
  }
  return { byKind, byAnomaly }
}

function methodOf(detector: Detector<unknown>): Method {
  return {
    name: detector.name,
    scores(points) {
      const state = detector.createState()
      return points.map((point) => {
        const score = detector.score(state, point)
        detector.learn(state, point)
        return score
      })
    },
  }
}

function measure({ name, scores }: Method, all: readonly LabelledSeries[]): SeriesReport {
  const [windows, points] = [emptySeriesMetrics(), emptyPointMetrics()]
  let [elapsedMs, count] = [0, 0]
  for (const series of all) {
    const startedMs = performance.now()
    const scored = scores(series.points)
    elapsedMs += performance.now() - startedMs
    count += series.points.length
    addSeries(windows, series, alarmsOf(scored))
    addPoints(points, series, scored)
  }
  return report(name, all.length, windows, points, (elapsedMs * 1_000) / count)
}

/** With the cooldown of the series scorer, so that methods are compared and not cooldowns. */
function alarmsOf(scores: readonly number[]): boolean[] {
  let cooldown = 0
  return scores.map((score) => {
    if (score < alarmScore) {
      cooldown = Math.max(0, cooldown - 1)
      return false
    }
    const alarm = cooldown === 0
    cooldown = cooldownPoints
    return alarm
  })
}

function report(
  method: string,
  series: number,
  { windows, falseAlarms, normalPoints, delays, nab, nabBest }: SeriesMetrics,
  points: PointMetrics,
  microsecondsPerPoint: number,
): SeriesReport {
  const sorted = [...delays].sort((a, b) => a - b)
  return {
    method,
    series,
    anomalies: windows,
    ...pointRates(points),
    auc: points.aucSum / points.rated,
    averagePrecision: points.averagePrecisionSum / points.rated,
    falseAlarmsPer1000Points: (falseAlarms / normalPoints) * 1_000,
    nab: 50 * (nab / nabBest + 1),
    medianDelayPoints: sorted[Math.floor(sorted.length / 2)] ?? null,
    microsecondsPerPoint,
  }
}
