import type { Limits } from '../scoring/grantScorer.ts'

/**
 * Evidence at which each watch raises an alarm, in the order of the watches: a little above the highest that normal traffic
 * of the tuning seeds reached. Written by calibrate.ts; to be measured again after a change of the watches.
 */
export const grantLimits: Readonly<Record<string, readonly Limits[]>> = {}
