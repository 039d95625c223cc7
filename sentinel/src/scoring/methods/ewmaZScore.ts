import { type Detector, toScore } from '../detector.ts'
import { deviations, type ZScoreOptions } from './zScoreOptions.ts'

/** Exponentially weighted mean and variance. */
export type EwmaState = { count: number; mean: number; variance: number }

const slowestRate = 0.02

export function createEwmaZScore(options: ZScoreOptions): Detector<EwmaState> {
  return {
    name: 'EWMA z-score',
    createState: () => ({ count: 0, mean: 0, variance: 0 }),
    score({ count, mean, variance }, { value }) {
      if (count < options.warmUpPoints) return 0
      return toScore(deviations(value, mean, Math.sqrt(variance), options), options.alarmDeviations)
    },
    learn: (state, { value }) => learnEwma(state, value, slowestRate),
  }
}

/** The plain mean and variance until `1 / leastRate` values, and exponentially weighted from there. */
export function learnEwma(state: EwmaState, value: number, leastRate: number): void {
  state.count++
  const rate = Math.max(1 / state.count, leastRate)
  const distance = value - state.mean
  state.mean += rate * distance
  state.variance = (1 - rate) * (state.variance + rate * distance * distance)
}
