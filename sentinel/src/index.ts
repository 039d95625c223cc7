export {
  applyRules,
  createRulesState,
  type Finding,
  firstRules,
  type RulesEvent,
  type RulesOptions,
  type RulesState,
} from './rules/firstRules.ts'
export { alarmScore, type Point } from './scoring/detector.ts'
export { createGrantScorer, type GrantScore, type GrantScorer, type GrantState } from './scoring/grantScorer.ts'
export { scoreSeries } from './scoring/scoreSeries.ts'
export { createSeriesState, observeSeries, type SeriesScore, type SeriesState } from './scoring/seriesScorer.ts'
export type { SpendEvent } from './scoring/spendEvent.ts'
export { createSpendWatchers } from './scoring/spendWatchers.ts'
export { createGuardian, type Guardian, type GuardianDeps } from './stops/guardian.ts'
export { createGuardianSigner, type GuardianSigner } from './stops/guardianSigner.ts'
