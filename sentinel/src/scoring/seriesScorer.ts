import { alarmScore, type Point } from './detector.ts'
import { createPeaks, type PeaksState } from './methods/peaks.ts'
import { createSurprise, type SurpriseState, seriesOptions } from './methods/surprise.ts'

/** Plain JSON of bounded size: a series can be stored after any point and gone on with elsewhere. */
export type SeriesState = {
  values: SurpriseState
  /** How close together the newest points are, and when they were. */
  pace: PeaksState
  newestMs: number[]
  lastMs: number | null
  /** Points without an alarm that are still to pass before the next one. */
  cooldown: number
}

export type SeriesScore = { score: number; alarm: boolean }

/** So many points in a row have to be below the alarm's score before the next alarm. */
export const cooldownPoints = 30
/** The pace is how long so many points took. */
const pacePoints = 8

const values = createSurprise(seriesOptions)
/** In natural logarithms, and only faster is suspicious: of a series with equal intervals it says nothing. */
const pace = createPeaks({
  direction: 'up',
  tail: { share: 0.02, leastScale: 0.2, doubt: 4 },
  warmUpPoints: seriesOptions.warmUpPoints,
  alarmEvidence: seriesOptions.alarmEvidence,
})

export function createSeriesState(): SeriesState {
  return { values: values.createState(), pace: pace.createState(), newestMs: [], lastMs: null, cooldown: 0 }
}

/**
 * How unusual the next point of a series is, judged by the points before it. Takes the point into the state, in place.
 * A value that is not finite is missing: it scores 0 and is not learned. An earlier time counts as the latest one.
 *
 * @example
 * const state = createSeriesState()
 * const { score, alarm } = observeSeries(state, { timestampMs: Date.UTC(2026, 0, 1), value: 12.5 })
 */
export function observeSeries(state: SeriesState, { timestampMs, value }: Point): SeriesScore {
  if (!Number.isFinite(value) || !Number.isFinite(timestampMs)) return { score: 0, alarm: false }
  state.lastMs = Math.max(timestampMs, state.lastMs ?? timestampMs)
  const point = { timestampMs: state.lastMs, value: withinReach(value) }
  const score = Math.max(values.score(state.values, point), observePace(state, point.timestampMs))
  values.learn(state.values, point)
  if (score < alarmScore) {
    state.cooldown = Math.max(0, state.cooldown - 1)
    return { score, alarm: false }
  }
  const alarm = state.cooldown === 0
  state.cooldown = cooldownPoints
  return { score, alarm }
}

function observePace(state: SeriesState, timestampMs: number): number {
  const { newestMs } = state
  newestMs.push(timestampMs)
  if (newestMs.length <= pacePoints) return 0
  const tookMs = timestampMs - (newestMs.shift() ?? timestampMs)
  const point = { timestampMs, value: -Math.log(Math.max(tookMs, 1)) }
  const score = pace.score(state.pace, point)
  pace.learn(state.pace, point)
  return score
}

/** Squares must not overflow. */
function withinReach(value: number): number {
  return Math.min(Math.max(value, -1e100), 1e100)
}
