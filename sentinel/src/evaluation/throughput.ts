import { applyRules, createRulesState, firstRules, type RulesState } from '../rules/firstRules.ts'
import { createGrantScorer, type GrantState } from '../scoring/grantScorer.ts'
import { createSpendWatchers } from '../scoring/spendWatchers.ts'
import { seedsFrom, tuningSeeds } from '../simulation/seeds.ts'
import { simulateTraffic } from '../simulation/traffic.ts'

export type Throughput = {
  grants: number
  events: number
  eventsPerSecond: number
  /** JSON of the state of one grant, after all its events: rules and scoring. */
  largestStateBytes: number
}

/** Rules and scoring of the chosen method over the events of many grants in the order of time, in this process alone. */
export function measureThroughput(grants: number): Throughput {
  const events = seedsFrom(tuningSeeds.traffic, grants)
    .flatMap((seed, grant) => {
      const { events, startMs } = simulateTraffic('bursty', seed)
      return events.slice(0, 500).map((event) => ({ grant, sinceMs: event.atMs - startMs, event }))
    })
    .sort((a, b) => a.sinceMs - b.sinceMs)
  const scorer = createGrantScorer(createSpendWatchers())
  const states: { rules: RulesState; score: GrantState }[] = Array.from({ length: grants }, () => ({
    rules: createRulesState(),
    score: scorer.createState(),
  }))
  const budget = { remainingBudgetAtomic: 10n ** 12n, budgetAtomic: 10n ** 12n }
  const startedMs = performance.now()
  for (const { grant, event } of events) {
    const state = states[grant]
    if (!state) break
    applyRules(state.rules, { ...event, ...budget }, firstRules)
    scorer.observe(state.score, event)
  }
  const elapsedMs = performance.now() - startedMs
  const bytes = states.map(({ rules, score }) => jsonBytes(score) + jsonBytes(rules))
  return {
    grants,
    events: events.length,
    eventsPerSecond: Math.round((events.length / elapsedMs) * 1_000),
    largestStateBytes: Math.max(...bytes),
  }
}

function jsonBytes(state: unknown): number {
  return JSON.stringify(state, (_, value) => (typeof value === 'bigint' ? `${value}` : value)).length
}
