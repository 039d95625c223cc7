import { type Detector, toScore } from '../detector.ts'
import { createTailModel, learnTail, type TailModel, tailEvidence } from '../tailModel.ts'
import type { SurpriseOptions } from './surprise.ts'

/** The tails of the values themselves, without any forecast. */
export type PeaksState = { high: TailModel; low: TailModel }

export type PeaksOptions = Omit<SurpriseOptions, 'seasons' | 'leastSpread'>

export function createPeaks(options: PeaksOptions): Detector<PeaksState> {
  return {
    name: 'peaks',
    createState: () => ({ high: createTailModel(), low: createTailModel() }),
    score({ high, low }, { value }) {
      if (high.count < options.warmUpPoints) return 0
      const up = tailEvidence(high, value, options.tail)
      const down = options.direction === 'up' ? 0 : tailEvidence(low, -value, options.tail)
      return toScore(Math.max(up, down), options.alarmEvidence)
    },
    learn({ high, low }, { value }) {
      learnTail(high, value, options.tail)
      if (options.direction === 'both') learnTail(low, -value, options.tail)
    },
  }
}
