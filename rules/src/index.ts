export { type CompiledRule, compileRule, type RuleProblem } from './compileRule.ts'
export { createRuleFacts, type RuleFacts, type RuleInput } from './ruleFacts.ts'
export { maxExpressionLength } from './ruleLanguage.ts'
export { type RuleWindow, ruleWindows, slicesPerWindow } from './ruleWindows.ts'
export {
  createSpendHistory,
  isSpendHistory,
  recordSpend,
  type SpendHistory,
  spendOfPayee,
} from './spendHistory.ts'
export type { SpendTotals } from './spendTotals.ts'
