import type { Detector } from '../../scoring/detector.ts'
import { createCusum } from '../../scoring/methods/cusum.ts'
import { createEwmaZScore } from '../../scoring/methods/ewmaZScore.ts'
import { createPeaks } from '../../scoring/methods/peaks.ts'
import { createRobustZScore } from '../../scoring/methods/robustZScore.ts'
import { createRollingZScore } from '../../scoring/methods/rollingZScore.ts'
import { createSeasonalZScore } from '../../scoring/methods/seasonalZScore.ts'
import { createSurprise, seriesOptions } from '../../scoring/methods/surprise.ts'
import type { ZScoreOptions } from '../../scoring/methods/zScoreOptions.ts'

/** The limit of each simple method is the one, in whole units, with the best F1 on the tuning series. */
export const seriesMethods: readonly Detector<unknown>[] = [
  createRollingZScore(zScore(7)),
  createEwmaZScore(zScore(7)),
  createRobustZScore(zScore(12)),
  createSeasonalZScore(zScore(8)),
  createCusum(zScore(44)),
  createPeaks({ ...seriesOptions, alarmEvidence: 4 }),
  createSurprise(seriesOptions),
]

function zScore(alarmDeviations: number): ZScoreOptions {
  return { direction: 'both', leastSpread: 0, warmUpPoints: seriesOptions.warmUpPoints, alarmDeviations }
}
