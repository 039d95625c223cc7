import { type Detector, toScore } from '../detector.ts'

/** The highest value so far and the mean, and how far above them the next one is. */
export type RecordsState = {
  count: number
  mean: number
  record: number
  /** The highest of the run of values above the record that goes on, and how long it is. */
  open: number
  run: number
}

export type RecordsOptions = {
  /** No score before so many points. */
  warmUpPoints: number
  /** Evidence at which the alarm is raised: distance above the record and half the distance above the mean. */
  alarmEvidence: number
}

/** A run above the record becomes the record when it ends: what goes on now is no excuse for itself. Or after so long. */
const longestRun = 60
/** How much of its distance to each value a record loses: half of it after 1,400 values. */
const forgetting = 0.0005
const meanRate = 0.01
/** A record that is far above the mean is no excuse either, for instance one of a single odd call. */
const meanWeight = 0.5

/** Meant for logarithms, where distances say how many times as large a value is. Sees only what is above the record. */
export function createRecords({ warmUpPoints, alarmEvidence }: RecordsOptions): Detector<RecordsState> {
  return {
    name: 'records',
    createState: () => ({ count: 0, mean: 0, record: 0, open: 0, run: 0 }),
    score({ count, mean, record }, { value }) {
      if (count < warmUpPoints || value <= record) return 0
      return toScore(value - record + meanWeight * (value - mean), alarmEvidence)
    },
    learn(state, { value }) {
      state.count++
      if (state.count === 1) {
        state.mean = state.record = value
        return
      }
      const rate = Math.max(1 / state.count, meanRate)
      if (state.count <= warmUpPoints) {
        state.record = Math.max(state.record, value)
        state.mean += rate * (value - state.mean)
        return
      }
      state.mean += rate * (Math.min(value, state.record) - state.mean)
      if (value > state.record) {
        state.open = state.run === 0 ? value : Math.max(state.open, value)
        state.run++
        if (state.run <= longestRun) return
      }
      if (state.run > 0) state.record = state.open
      state.run = 0
      state.record -= forgetting * Math.max(0, state.record - value)
    },
  }
}
