import { applyRules, createRulesState, firstRules } from '../rules/firstRules.ts'
import { alarmScore } from '../scoring/detector.ts'
import { createGrantScorer, type Watcher } from '../scoring/grantScorer.ts'
import { createSpendWatchers } from '../scoring/spendWatchers.ts'
import { grantLimits } from './grantLimits.ts'
import { chosenName, grantMethods, watchersOf } from './grantMethods.ts'
import type { WatchedMethod } from './grantMetrics.ts'

const rules: WatchedMethod = {
  name: 'first rules',
  watch() {
    const state = createRulesState()
    // The budget rules only alert: they are left out by a budget that never ends.
    const budget = { remainingBudgetAtomic: 1n, budgetAtomic: 1n }
    return (event) => applyRules(state, { ...event, ...budget }, firstRules).some(({ action }) => action === 'freeze')
  },
}

const scoring: WatchedMethod = scored(chosenName, createSpendWatchers())

const both: WatchedMethod = {
  name: 'rules and scoring',
  watch() {
    const [byRules, byScore] = [rules.watch(), scoring.watch()]
    return (event) => {
      const [one, other] = [byRules(event), byScore(event)]
      return one || other
    }
  },
}

/** What the sentinel runs: its rules, its scoring, and both. */
export const chosenMethods: readonly WatchedMethod[] = [rules, scoring, both]

/** Each method as it would do alone, on the same values, with limits found in the same way. */
export function createComparedMethods(): WatchedMethod[] {
  return grantMethods.map((method) => scored(method.name, watchersOf(method, grantLimits[method.name] ?? [])))
}

function scored(name: string, watchers: readonly Watcher[]): WatchedMethod {
  const scorer = createGrantScorer(watchers)
  return {
    name,
    watch() {
      const state = scorer.createState()
      return (event) => scorer.observe(state, event).score >= alarmScore
    },
  }
}
