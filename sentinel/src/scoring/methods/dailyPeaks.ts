import { type Detector, type Point, toScore } from '../detector.ts'
import { createSeasonalProfile, dayCycle, learnProfile, profileAt, type SeasonalProfile } from '../seasonalProfile.ts'
import { createTailModel, learnTail, type TailModel, tailEvidence } from '../tailModel.ts'
import type { PeaksOptions } from './peaks.ts'

/** The tails of what is left of a value when the time of day has been taken off. */
export type DailyPeaksState = { day: SeasonalProfile; high: TailModel; low: TailModel }

/** A time of day is known when it was seen on so many days, this one included. */
const leastDays = 3

export function createDailyPeaks(options: PeaksOptions): Detector<DailyPeaksState> {
  const rest = ({ day }: DailyPeaksState, { timestampMs, value }: Point) => {
    const normal = profileAt(day, dayCycle, timestampMs, leastDays)
    return normal === undefined ? undefined : value - normal
  }
  return {
    name: 'daily peaks',
    createState: () => ({ day: createSeasonalProfile(dayCycle), high: createTailModel(), low: createTailModel() }),
    score(state, point) {
      const value = rest(state, point)
      if (value === undefined || state.high.count < options.warmUpPoints) return 0
      const up = tailEvidence(state.high, value, options.tail)
      const down = options.direction === 'up' ? 0 : tailEvidence(state.low, -value, options.tail)
      return toScore(Math.max(up, down), options.alarmEvidence)
    },
    learn(state, point) {
      const value = rest(state, point)
      if (value !== undefined) {
        learnTail(state.high, value, options.tail)
        if (options.direction === 'both') learnTail(state.low, -value, options.tail)
      }
      learnProfile(state.day, dayCycle, point.timestampMs, point.value)
    },
  }
}
