import { type Detector, toScore } from '../detector.ts'
import { deviations, type ZScoreOptions } from './zScoreOptions.ts'

/**
 * Median and median absolute deviation, tracked by steps up and down (Robbins-Monro): three numbers, and outliers pull no
 * more than any other value.
 */
export type RobustState = { count: number; median: number; deviation: number; step: number }

/** The standard deviation of a normal distribution, in median absolute deviations. */
const deviationsPerMad = 1.4826
const slowestRate = 0.02

export function createRobustZScore(options: ZScoreOptions): Detector<RobustState> {
  return {
    name: 'robust z-score',
    createState: () => ({ count: 0, median: 0, deviation: 0, step: 0 }),
    score({ count, median, deviation }, { value }) {
      if (count < options.warmUpPoints) return 0
      return toScore(deviations(value, median, deviationsPerMad * deviation, options), options.alarmDeviations)
    },
    learn(state, { value }) {
      state.count++
      if (state.count === 1) state.median = value
      const distance = Math.abs(value - state.median)
      // The unit of the steps: the mean distance, of which one outlier changes little.
      const bounded = state.step > 0 ? Math.min(distance, 10 * state.step) : distance
      state.step += Math.max(1 / state.count, 0.01) * (bounded - state.step)
      const step = 2 * state.step * Math.max(1 / state.count, slowestRate)
      state.median += Math.sign(value - state.median) * step
      state.deviation = Math.max(0, state.deviation + Math.sign(distance - state.deviation) * step)
    },
  }
}
