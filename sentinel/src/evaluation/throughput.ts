import { noRules } from '../ownRules/applyOwnRules.ts'
import { toOwnRule } from '../ownRules/createRuleBook.ts'
import { firstRules } from '../rules/firstRules.ts'
import { createGrantScorer } from '../scoring/grantScorer.ts'
import type { SpendEvent } from '../scoring/spendEvent.ts'
import { createSpendWatchers } from '../scoring/spendWatchers.ts'
import { seedsFrom, tuningSeeds } from '../simulation/seeds.ts'
import { simulateTraffic } from '../simulation/traffic.ts'
import { createGrantMemory, encodeGrantMemory, type GrantMemory } from '../watch/grantMemory.ts'
import { judgeCharge } from '../watch/judgeCharge.ts'

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
  /** JSON of the memory of one grant, after all its events: rules, scoring, and what own rules count in. */
  largestStateBytes: number
}

type Arrival = { grant: number; event: SpendEvent }

const batch = 1_000
const mostLives = 100
const account = '0x00000000000000000000000000000000000000aa'

/** Ten rules of the owner that read every kind of window, and are hardly ever true. */
const tenRules = [
  'amount > 5000 && calls("1m") > 50',
  'sum("1h") > 90000',
  'calls("10s") > 500 || calls("5m") > 5000',
  'sum("24h") > 900000 && hourIn("Europe/Berlin") < 6',
  'payeeSum("6h") > 500000',
  'amount > 1000 * average && callsBefore > 100',
  'newHost && score > 0.99',
  'remainingBudget < 1 || funds < 1',
  'payeeCalls("7d") > 1000000 && weekday > 5',
  'sum("10m") > 50 * largest && service.startsWith("x")',
].map((expression, index) =>
  toOwnRule({
    ...{ id: `rul_${index}`, version: 1, name: expression, expression, merchantId: null, account, merchantPayee: null },
    ...{ scope: {}, action: 'freeze', severity: 'critical', blockSeconds: null },
  }),
)

/**
 * The three rules, the scoring of the chosen method and ten own rules over the events of many grants in the order of time, in this process alone: how
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
  const ownRules = { ...noRules, rulesFor: () => tenRules }
  const options = { rules: firstRules, scorer, decimals: 6, cooldownMs: 600_000, ownRules }
  const before = heapBytes()
  const states: GrantMemory[] = Array.from({ length: grants }, () => createGrantMemory(scorer))
  const grantIds = states.map((_, grant) => `0x${grant.toString(16).padStart(64, '0')}`)
  const plenty = 10n ** 12n
  const budget = { remainingBudgetAtomic: plenty, budgetAtomic: plenty, fundsAtomic: plenty }
  const batches: number[] = []
  let [events, elapsedMs, cpuMicroseconds] = [0, 0, 0]
  for (const arrivals of batchesOf(lives, grants)) {
    const startedMs = performance.now()
    const cpu = process.cpuUsage()
    for (const { grant, event } of arrivals) {
      const state = states[grant]
      if (!state) break
      judgeCharge(state, { ...event, ...budget, grantId: grantIds[grant] ?? '', account }, options)
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
      .reduce((largest, memory) => Math.max(largest, encodeGrantMemory(memory).length), 0),
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
