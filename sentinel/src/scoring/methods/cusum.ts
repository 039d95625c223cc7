import { type Detector, toScore } from '../detector.ts'
import { type EwmaState, learnEwma } from './ewmaZScore.ts'
import { deviations, type ZScoreOptions } from './zScoreOptions.ts'

/**
 * Sums of deviations beyond an allowance, up and down, which only a lasting shift drives far (Page, "Continuous Inspection
 * Schemes", 1954). `alarmDeviations` is the sum at which the alarm is raised.
 */
export type CusumState = { level: EwmaState; up: number; down: number }

/** Deviations that are allowed, and what one value adds at most. */
const allowance = 1
const largestStep = 8
/** So that a shift that turned out to be normal is forgotten. */
const largestSum = 100
const slowestRate = 0.01

export function createCusum(options: ZScoreOptions): Detector<CusumState> {
  const next = (sum: number, deviation: number) => Math.max(0, sum + Math.min(deviation, largestStep) - allowance)
  const sums = ({ level, up, down }: CusumState, value: number) => {
    const distance = deviations(value, level.mean, Math.sqrt(level.variance), { ...options, direction: 'up' })
    return { up: next(up, distance), down: options.direction === 'up' ? 0 : next(down, -distance) }
  }
  return {
    name: 'CUSUM',
    createState: () => ({ level: { count: 0, mean: 0, variance: 0 }, up: 0, down: 0 }),
    score(state, { value }) {
      if (state.level.count < options.warmUpPoints) return 0
      const { up, down } = sums(state, value)
      return toScore(Math.max(up, down), options.alarmDeviations)
    },
    learn(state, { value }) {
      if (state.level.count >= options.warmUpPoints) {
        const { up, down } = sums(state, value)
        state.up = Math.min(up, largestSum)
        state.down = Math.min(down, largestSum)
      }
      learnEwma(state.level, value, slowestRate)
    },
  }
}
