/** One value of a series. Missing values are not points: leave them out. */
export type Point = { timestampMs: number; value: number }

/**
 * A way to tell how unusual the next point of a series is. It keeps nothing itself: all it knows is in `State`, a plain
 * JSON value of bounded size, so that a series can be stored and gone on with in another process.
 *
 * Points come in the order of their time. The clock is the points'.
 */
export type Detector<State> = {
  readonly name: string
  createState(): State
  /**
   * In [0, 1): 0 is nothing unusual, `alarmScore` and above is an alarm, nearer to 1 more so. Does not change the state,
   * so that a value that is still growing (the spending of this minute) can be scored at every step.
   */
  score(state: State, point: Point): number
  /** Takes the point into the state, in place. */
  learn(state: State, point: Point): void
}

/** Scores of every method are scaled so that this one is where it raises an alarm. */
export const alarmScore = 0.5

/** Evidence of any unit to a score: 0 at none, `alarmScore` at `alarmAt`, towards 1 beyond. */
export function toScore(evidence: number, alarmAt: number): number {
  return evidence > 0 ? Math.min(evidence / (evidence + alarmAt), largestScore) : 0
}

// Below 1 also where the division rounds up to it.
const largestScore = 1 - 2 ** -53
