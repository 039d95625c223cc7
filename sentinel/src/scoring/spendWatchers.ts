import type { Detector } from './detector.ts'
import { type Watched, type Watcher, windowsMs } from './grantScorer.ts'
import { createDailyPeaks } from './methods/dailyPeaks.ts'
import type { PeaksOptions } from './methods/peaks.ts'
import { createRecords } from './methods/records.ts'
import { spendLimits } from './spendLimits.ts'

/** What is watched, and by what. Detectors raise their alarm at an evidence of one: the limits are the watcher's. */
export type SpendWatch = { watched: Watched; windowMs: number; detector: Detector<unknown> }

/** Points before a watch says anything: few, of a day, which is learned from eight times at most. */
export function warmUpPointsOf({ watched, windowMs }: { watched: Watched; windowMs: number }): number {
  return watched === 'price' || windowMs === windowsMs.at(-1) ? 16 : 40
}

/** Values are natural logarithms: tails narrower than 0.3, a third more, are taken as that wide. */
export function spendPeaks(warmUpPoints: number): PeaksOptions {
  return { direction: 'up', tail: { share: 0.05, leastScale: 0.3, doubt: 0 }, warmUpPoints, alarmEvidence: 1 }
}

/** Every value that there is to watch. */
export const everything: readonly { watched: Watched; windowMs: number }[] = [
  { watched: 'amount', windowMs: 0 },
  { watched: 'price', windowMs: 0 },
  ...windowsMs.flatMap((windowMs) => [
    { watched: 'money' as const, windowMs },
    { watched: 'calls' as const, windowMs },
  ]),
]

const [, , , hour, sixHours, day] = windowsMs

/**
 * The chosen method: the records of everything, also of how busy the longer windows were, and of the calls of an hour and
 * of how busy it was also what is unusual at this time of the day.
 */
export const spendWatches: readonly SpendWatch[] = [
  ...[
    ...everything,
    { watched: 'busy' as const, windowMs: hour },
    { watched: 'busy' as const, windowMs: sixHours },
    { watched: 'busy' as const, windowMs: day },
  ].map((watch) => ({
    ...watch,
    detector: createRecords({ warmUpPoints: warmUpPointsOf(watch), alarmEvidence: 1 }),
  })),
  { watched: 'calls', windowMs: hour, detector: createDailyPeaks(spendPeaks(40)) },
  { watched: 'busy', windowMs: hour, detector: createDailyPeaks(spendPeaks(40)) },
]

/** For `createGrantScorer`: what the sentinel runs. */
export function createSpendWatchers(): Watcher[] {
  return spendWatches.map((watch, index) => {
    const limits = spendLimits[index]
    if (!limits) throw new Error(`spend watch ${index} has no limit: run sentinel/src/evaluation/calibrate.ts`)
    return { ...watch, limits }
  })
}
