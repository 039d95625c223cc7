import type { LabelledSeries } from './syntheticSeries.ts'

/** Counted over many series. An alarm is a point where it was raised; one in a window, or right after, is right. */
export type SeriesMetrics = {
  windows: number
  caught: number
  falseAlarms: number
  normalPoints: number
  /** Points from the begin of a window to its first alarm, of those caught. */
  delays: number[]
  /** Sum of the score of the Numenta Anomaly Benchmark, standard profile, and what a perfect detector has. */
  nab: number
  nabBest: number
}

export function emptySeriesMetrics(): SeriesMetrics {
  return { windows: 0, caught: 0, falseAlarms: 0, normalPoints: 0, delays: [], nab: 0, nabBest: 0 }
}

/**
 * Adds what `alarms` (one flag a point) got right and wrong in this series. The first 15% of the points, at most 750, are
 * for learning and do not count, as in the Numenta Anomaly Benchmark, whose sigmoids are used: 1 for an alarm at the begin
 * of a window, about 0 at its end, -0.11 for one far from any window, -1 for a window without.
 */
export function addSeries(metrics: SeriesMetrics, series: LabelledSeries, alarms: readonly boolean[]): void {
  const probation = Math.min(Math.floor(series.points.length * 0.15), 750)
  const caught = new Set<number>()
  metrics.windows += series.windows.length
  metrics.nabBest += series.windows.length
  for (let index = probation; index < series.points.length; index++) {
    const inside = series.windows.findIndex(({ first, last }) => first <= index && index <= last)
    if (inside < 0) metrics.normalPoints++
    if (!alarms[index]) continue
    const window = series.windows[inside]
    if (!window) {
      metrics.falseAlarms++
      const before = series.windows.findLast(({ last }) => last < index)
      const length = before ? before.last - before.first + 1 : 1
      metrics.nab += 0.11 * (before ? sigmoid((index - before.last) / length) : -1)
    } else if (!caught.has(inside)) {
      caught.add(inside)
      metrics.delays.push(index - window.first)
      metrics.nab += sigmoid((index - window.last) / (window.last - window.first + 1)) / sigmoid(-1)
    }
  }
  metrics.caught += caught.size
  metrics.nab -= series.windows.length - caught.size
}

/** From 1 at -1 (a window before) over 0 to -1 far after, of a position relative to a window's end. */
function sigmoid(position: number): number {
  return position > 3 ? -1 : 2 / (1 + Math.exp(5 * position)) - 1
}
