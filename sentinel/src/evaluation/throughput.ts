import { applyRules, createRulesState, firstRules, type RulesState } from '../rules/firstRules.ts'
import { createGrantScorer, type GrantState } from '../scoring/grantScorer.ts'
import type { SpendEvent } from '../scoring/spendEvent.ts'
import { createSpendWatchers } from '../scoring/spendWatchers.ts'
import { seedsFrom, tuningSeeds } from '../simulation/seeds.ts'
import { simulateTraffic } from '../simulation/traffic.ts'

export type Throughput = {
  grants: number
  /** How many different lives the grants share. */
  lives: number
  events: number
  /** By the clock, and by the processor's time, where other processes want the processor too. */
  eventsPerSecond: number
  eventsPerCpuSecond: number
  /** Of one event, in microseconds, measured in batches of 1,000: those of the slowest hundredth of batches take longer. */
  p99Microseconds: number
  /** Heap and buffers of all states, by the number of grants; null where the process cannot collect its garbage. */
  bytesPerGrant: number | null
  /** JSON of the state of one grant, after all its events: rules and scoring. */
  largestStateBytes: number
}

/** How the sentinel stores one grant. */
type Watched = { rules: RulesState; score: GrantState }
type Arrival = { grant: number; event: SpendEvent }

const batch = 1_000
const mostLives = 100

/**
 * Rules and scoring of the chosen method over the events of many grants in the order of time, in this process alone: how
 * many a second, and how much memory the states take when all have been through their events.
 *
 * @param eventsPerGrant at most 2,000: about three days of an agent in bursts.
 */
export function measureThroughput(grants: number, eventsPerGrant: number): Throughput {
  const lives = seedsFrom(tuningSeeds.traffic, Math.min(grants, mostLives)).map((seed) => {
    const { events, startMs } = simulateTraffic('bursty', seed)
    return { events: events.slice(0, eventsPerGrant), startMs }
  })
  const scorer = createGrantScorer(createSpendWatchers())
  const before = heapBytes()
  const states: Watched[] = Array.from({ length: grants }, () => ({
    rules: createRulesState(),
    score: scorer.createState(),
  }))
  const budget = { remainingBudgetAtomic: 10n ** 12n, budgetAtomic: 10n ** 12n }
  const batches: number[] = []
  let [events, elapsedMs, cpuMicroseconds] = [0, 0, 0]
  for (const arrivals of batchesOf(lives, grants)) {
    const startedMs = performance.now()
    const cpu = process.cpuUsage()
    for (const { grant, event } of arrivals) {
      const state = states[grant]
      if (!state) break
      applyRules(state.rules, { ...event, ...budget }, firstRules)
      scorer.observe(state.score, event)
    }
    const tookMs = performance.now() - startedMs
    const { user, system } = process.cpuUsage(cpu)
    elapsedMs += tookMs
    cpuMicroseconds += user + system
    events += arrivals.length
    if (arrivals.length === batch) batches.push(tookMs)
  }
  const after = heapBytes()
  batches.sort((a, b) => a - b)
  return {
    grants,
    // Read here, so that the lives are in memory in both measurements.
    lives: lives.length,
    events,
    eventsPerSecond: Math.round((events / elapsedMs) * 1_000),
    eventsPerCpuSecond: Math.round((events / cpuMicroseconds) * 1e6),
    p99Microseconds: Number((((batches[Math.ceil(batches.length * 0.99) - 1] ?? 0) * 1_000) / batch).toFixed(1)),
    bytesPerGrant: before === null || after === null ? null : Math.round((after - before) / grants),
    largestStateBytes: states
      .slice(0, 1_000)
      .reduce((largest, { rules, score }) => Math.max(largest, jsonBytes(rules) + jsonBytes(score)), 0),
  }
}

/** The grants live the same hundred lives, each its own a little later, one event of every grant after the other. */
function* batchesOf(lives: readonly { events: SpendEvent[] }[], grants: number): Generator<Arrival[]> {
  let arrivals: Arrival[] = []
  const longest = lives.reduce((most, { events }) => Math.max(most, events.length), 0)
  for (let index = 0; index < longest; index++) {
    for (let grant = 0; grant < grants; grant++) {
      const event = lives[grant % lives.length]?.events[index]
      if (!event) continue
      arrivals.push({ grant, event: { ...event, atMs: event.atMs + grant } })
      if (arrivals.length < batch) continue
      yield arrivals
      arrivals = []
    }
  }
  yield arrivals
}

function heapBytes(): number | null {
  if (!globalThis.gc) return null
  globalThis.gc()
  globalThis.gc()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

function jsonBytes(state: unknown): number {
  return JSON.stringify(state, (_, value) => (typeof value === 'bigint' ? `${value}` : value)).length
}
