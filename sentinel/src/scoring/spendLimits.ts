import type { Limits } from './grantScorer.ts'

/**
 * Evidence at which each watch raises an alarm, in the order of the watches: a little above the highest that normal traffic
 * of the tuning seeds reached. Written by calibrate.ts; to be measured again after a change of the watches.
 */
export const spendLimits: readonly Limits[] = [
  { firstWeek: 3.33, later: 3.28, newHost: 3.13 },
  { firstWeek: 2.76, later: 2.75, newHost: 2.66 },
  { firstWeek: 3.09, later: 3.22, newHost: 2.94 },
  { firstWeek: 1.38, later: 1.43, newHost: 1.14 },
  { firstWeek: 2.78, later: 2.94, newHost: 2.6 },
  { firstWeek: 2.3, later: 1.98, newHost: 1.63 },
  { firstWeek: 4.43, later: 4.47, newHost: 3.59 },
  { firstWeek: 3.96, later: 3.89, newHost: 3.17 },
  { firstWeek: 3.54, later: 4.03, newHost: 2.83 },
  { firstWeek: 3.33, later: 3.85, newHost: 2.57 },
  { firstWeek: 2.89, later: 2.99, newHost: 2.5 },
  { firstWeek: 2.53, later: 2.6, newHost: 2.07 },
  { firstWeek: 2.58, later: 2.99, newHost: 2.75 },
  { firstWeek: 2.07, later: 1.84, newHost: 1.86 },
  { firstWeek: 2.82, later: 2.08, newHost: 1.75 },
  { firstWeek: 1.75, later: 1.21, newHost: 1.35 },
  { firstWeek: 1.29, later: 0.85, newHost: 0.73 },
  { firstWeek: 3.48, later: 4.91, newHost: 3.39 },
  { firstWeek: 3.44, later: 3.06, newHost: 2.62 },
]
