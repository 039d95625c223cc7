import type { Limits } from './grantScorer.ts'

/**
 * Evidence at which each watch raises an alarm, in the order of the watches: a little above the highest that normal traffic
 * of the tuning seeds reached. Written by calibrate.ts; to be measured again after a change of the watches.
 */
export const spendLimits: readonly Limits[] = [
  { firstWeek: 3.25, later: 3.03, newHost: 3.09 },
  { firstWeek: 2.76, later: 2.75, newHost: 2.66 },
  { firstWeek: 3, later: 2.86, newHost: 2.71 },
  { firstWeek: 1.3, later: 1.42, newHost: 1.68 },
  { firstWeek: 2.78, later: 2.56, newHost: 2.56 },
  { firstWeek: 2.22, later: 1.98, newHost: 1.54 },
  { firstWeek: 4.25, later: 4.41, newHost: 3.32 },
  { firstWeek: 3.72, later: 3.82, newHost: 2.9 },
  { firstWeek: 3.45, later: 4.78, newHost: 2.33 },
  { firstWeek: 3.53, later: 4.45, newHost: 1.85 },
  { firstWeek: 3.12, later: 2.86, newHost: 2.25 },
  { firstWeek: 3.11, later: 2.73, newHost: 2.1 },
  { firstWeek: 2.74, later: 2.91, newHost: 2.25 },
  { firstWeek: 2.66, later: 2.12, newHost: 2.21 },
  { firstWeek: 4.1, later: 5.89, newHost: 2.71 },
]
