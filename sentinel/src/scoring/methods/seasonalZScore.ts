import { type Detector, type Point, toScore } from '../detector.ts'
import { createSeasonalProfile, learnProfile, profileAt, type SeasonalProfile, weekCycle } from '../seasonalProfile.ts'
import { type EwmaState, learnEwma } from './ewmaZScore.ts'
import { deviations, type ZScoreOptions } from './zScoreOptions.ts'

/** The mean of each hour of the week, and the spread around it; of an hour not seen yet, the mean of all. */
export type SeasonalState = { week: SeasonalProfile; level: EwmaState; rest: EwmaState }

export function createSeasonalZScore(options: ZScoreOptions): Detector<SeasonalState> {
  const expected = ({ week, level }: SeasonalState, { timestampMs }: Point) =>
    profileAt(week, weekCycle, timestampMs, 1) ?? level.mean
  return {
    name: 'seasonal z-score',
    createState: () => ({
      week: createSeasonalProfile(weekCycle),
      level: { count: 0, mean: 0, variance: 0 },
      rest: { count: 0, mean: 0, variance: 0 },
    }),
    score(state, point) {
      if (state.rest.count < options.warmUpPoints) return 0
      const rest = point.value - expected(state, point)
      return toScore(deviations(rest, 0, Math.sqrt(state.rest.variance), options), options.alarmDeviations)
    },
    learn(state, point) {
      learnEwma(state.rest, state.level.count === 0 ? 0 : point.value - expected(state, point), 0.005)
      learnEwma(state.level, point.value, 0.02)
      learnProfile(state.week, weekCycle, point.timestampMs, point.value)
    },
  }
}
