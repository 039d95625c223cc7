import { type Detector, toScore } from '../detector.ts'
import type { ZScoreOptions } from './zScoreOptions.ts'
import { deviations } from './zScoreOptions.ts'

/** Mean and standard deviation of the newest values, all alike. */
export type RollingState = { values: number[]; next: number }

const windowPoints = 100

export function createRollingZScore(options: ZScoreOptions): Detector<RollingState> {
  return {
    name: 'rolling z-score',
    createState: () => ({ values: [], next: 0 }),
    score({ values }, { value }) {
      if (values.length < options.warmUpPoints) return 0
      let mean = 0
      for (const one of values) mean += one
      mean /= values.length
      let variance = 0
      for (const one of values) variance += (one - mean) * (one - mean)
      return toScore(deviations(value, mean, Math.sqrt(variance / values.length), options), options.alarmDeviations)
    },
    learn(state, { value }) {
      state.values[state.next] = value
      state.next = (state.next + 1) % windowPoints
    },
  }
}
