import type { Point } from './detector.ts'
import { createSeriesState, observeSeries } from './seriesScorer.ts'

/**
 * Scores of a series of any unit, scale and interval, one a point, in [0, 1): 0.5 and more is an alarm. Causal: a score
 * depends on its own point and those before. The first 50 points score 0.
 */
export function scoreSeries(points: readonly Point[]): number[] {
  const state = createSeriesState()
  return points.map((point) => observeSeries(state, point).score)
}
