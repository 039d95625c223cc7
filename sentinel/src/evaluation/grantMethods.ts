import type { Detector } from '../scoring/detector.ts'
import type { Limits, Watcher } from '../scoring/grantScorer.ts'
import { createCusum } from '../scoring/methods/cusum.ts'
import { createDailyPeaks } from '../scoring/methods/dailyPeaks.ts'
import { createEwmaZScore } from '../scoring/methods/ewmaZScore.ts'
import { createPeaks } from '../scoring/methods/peaks.ts'
import { createRecords } from '../scoring/methods/records.ts'
import { createRobustZScore } from '../scoring/methods/robustZScore.ts'
import { createRollingZScore } from '../scoring/methods/rollingZScore.ts'
import { createSeasonalZScore } from '../scoring/methods/seasonalZScore.ts'
import type { ZScoreOptions } from '../scoring/methods/zScoreOptions.ts'
import { everything, type SpendWatch, spendPeaks, spendWatches, warmUpPointsOf } from '../scoring/spendWatchers.ts'

/** What a method watches. Each watch has limits, which calibrate.ts finds in the same way for every method. */
export type GrantMethod = { name: string; watches: readonly SpendWatch[] }

export const chosenName = 'records and daily peaks'

/** The chosen one is the last. */
export const grantMethods: readonly GrantMethod[] = [
  method((warmUpPoints) => createRollingZScore(zScore(warmUpPoints))),
  method((warmUpPoints) => createEwmaZScore(zScore(warmUpPoints))),
  method((warmUpPoints) => createRobustZScore(zScore(warmUpPoints))),
  method((warmUpPoints) => createSeasonalZScore(zScore(warmUpPoints))),
  method((warmUpPoints) => createCusum(zScore(warmUpPoints))),
  method((warmUpPoints) => createPeaks(spendPeaks(warmUpPoints))),
  method((warmUpPoints) => createDailyPeaks(spendPeaks(warmUpPoints))),
  method((warmUpPoints) => createRecords({ warmUpPoints, alarmEvidence: 1 })),
  { name: chosenName, watches: spendWatches },
]

export function watchersOf({ name, watches }: GrantMethod, limits: readonly Limits[]): Watcher[] {
  return watches.map((watch, index) => {
    const limit = limits[index]
    if (!limit) throw new Error(`watch ${index} of ${name} has no limit: run sentinel/src/evaluation/calibrate.ts`)
    return { ...watch, limits: limit }
  })
}

function method(create: (warmUpPoints: number) => Detector<unknown>): GrantMethod {
  return {
    name: create(1).name,
    watches: everything.map((watch) => ({ ...watch, detector: create(warmUpPointsOf(watch)) })),
  }
}

function zScore(warmUpPoints: number): ZScoreOptions {
  return { direction: 'up', leastSpread: 0.3, warmUpPoints, alarmDeviations: 1 }
}
