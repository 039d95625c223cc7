import { type Detector, toScore } from '../detector.ts'
import { deviations, type ZScoreOptions } from './zScoreOptions.ts'

/** Mean and standard deviation of the newest values, all alike. */
export type RollingState = { values: number[]; next: number; mean: number; variance: number }

const windowPoints = 100

export function createRollingZScore(options: ZScoreOptions): Detector<RollingState> {
  return {
    name: 'rolling z-score',
    createState: () => ({ values: [], next: 0, mean: 0, variance: 0 }),
    score({ values, mean, variance }, { value }) {
      if (values.length < options.warmUpPoints) return 0
      return toScore(deviations(value, mean, Math.sqrt(variance), options), options.alarmDeviations)
    },
    learn(state, { value }) {
      const { values } = state
      values[state.next] = value
      state.next = (state.next + 1) % windowPoints
      // From the values each time: running sums of them would drift.
      let sum = 0
      for (const one of values) sum += one
      state.mean = sum / values.length
      let squares = 0
      for (const one of values) squares += (one - state.mean) * (one - state.mean)
      state.variance = squares / values.length
    },
  }
}
