/** What the simple methods, which measure in standard deviations, have in common. */
export type ZScoreOptions = {
  direction: 'up' | 'both'
  /** The standard deviation is taken as at least this, in the series' own unit. */
  leastSpread: number
  /** No score before so many points. At most 100. */
  warmUpPoints: number
  /** Standard deviations at which the alarm is raised. */
  alarmDeviations: number
}

/** How many standard deviations the value is off; below zero where that is not suspicious. */
export function deviations(value: number, mean: number, spread: number, options: ZScoreOptions): number {
  const distance = (value - mean) / Math.max(spread, options.leastSpread, 1e-300)
  return options.direction === 'up' ? distance : Math.abs(distance)
}
