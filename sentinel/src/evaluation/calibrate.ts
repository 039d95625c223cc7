import { writeFile } from 'node:fs/promises'
import { createGrantScorer, evidenceOf, type Limits, phases } from '../scoring/grantScorer.ts'
import type { SpendEvent } from '../scoring/spendEvent.ts'
import { attackKinds, simulateAttack } from '../simulation/attacks.ts'
import { seedsFrom, tuningSeeds } from '../simulation/seeds.ts'
import { simulateTraffic, trafficKinds } from '../simulation/traffic.ts'
import { type GrantMethod, grantMethods } from './grantMethods.ts'

// npx tsx sentinel/src/evaluation/calibrate.ts chosen|compared: measures, on the tuning seeds, the limits of what the
// sentinel runs, and writes them to scoring/spendLimits.ts; or those of every method alone, to grantLimits.ts. Each takes
// some minutes. Format the file afterwards.

/**
 * Of many limits, each the highest of so many grants, one in so many is exceeded by the next grant: so the chosen method
 * gets many grants. Methods are compared on fewer, and all on the same.
 */
const samples = {
  chosen: { grantsPerKind: 2_500, attacksPerPair: 30 },
  compared: { grantsPerKind: 400, attacksPerPair: 10 },
} as const
type Sample = (typeof samples)[keyof typeof samples]

/** The share of normal grants whose extremes may be given up, for the attacks that lower limits catch. */
const givenUpShare = 0.003
const margin = 1.03

/** The highest evidence of every watch in the life of one grant, one phase after the other. */
type Extremes = number[]
type Measured = { normal: Extremes[]; attacks: Extremes[] }

const [which] = process.argv.slice(2)
if (which === 'chosen') {
  for (const [method, measured] of measureAll(grantMethods.slice(-1), samples.chosen)) {
    await write(
      '../scoring/spendLimits.ts',
      'spendLimits: readonly Limits[]',
      './grantScorer.ts',
      calibrate(method, measured),
    )
  }
} else if (which === 'compared') {
  const measured = [...measureAll(grantMethods, samples.compared)]
  const limits = Object.fromEntries(measured.map(([method, one]) => [method.name, calibrate(method, one)]))
  const name = 'grantLimits: Readonly<Record<string, readonly Limits[]>>'
  await write('./grantLimits.ts', name, '../scoring/grantScorer.ts', limits)
} else {
  console.error('usage: calibrate.ts chosen|compared')
  process.exit(2)
}

/** Every simulated grant is made once, and watched with all methods. */
function measureAll(
  methods: readonly GrantMethod[],
  { grantsPerKind, attacksPerPair }: Sample,
): Map<GrantMethod, Measured> {
  const all = new Map(methods.map((method) => [method, { normal: [], attacks: [] } as Measured]))
  for (const kind of trafficKinds) {
    for (const seed of seedsFrom(tuningSeeds.traffic, grantsPerKind)) {
      const { events } = simulateTraffic(kind, seed)
      for (const [method, { normal }] of all) normal.push(extremesOf(method, events, 0))
    }
    for (const attack of attackKinds) {
      for (const seed of seedsFrom(tuningSeeds.attacks, attacksPerPair)) {
        const { events, beganMs } = simulateAttack(attack, kind, seed)
        for (const [method, { attacks }] of all) attacks.push(extremesOf(method, events, beganMs))
      }
    }
  }
  return all
}

/**
 * A little above the highest evidence of every watch over normal traffic, but for a few grants: those whose extremes cost
 * the most attacks, one after the other.
 */
function calibrate(method: GrantMethod, { normal, attacks }: Measured): Limits[] {
  const count = method.watches.length * phases.length
  const ranked = Array.from({ length: count }, (_, index) =>
    [...normal].sort((a, b) => (b[index] ?? 0) - (a[index] ?? 0)),
  )
  const givenUp = new Set<Extremes>()
  const highest = (without?: Extremes) =>
    ranked.map((grants, index) => {
      const top = grants.find((grant) => grant !== without && !givenUp.has(grant))
      return { grant: top, evidence: top?.[index] ?? 0 }
    })
  let found = highest()
  while (givenUp.size < Math.floor(normal.length * givenUpShare)) {
    const before = found.map(({ evidence }) => evidence)
    const options = [...new Set(found.map(({ grant }) => grant))].map((grant) => {
      const after = highest(grant)
      const evidence = after.map((one) => one.evidence)
      return { grant, after, worth: caught(attacks, evidence) + 0.001 * lowered(before, evidence) }
    })
    const best = options.reduce((a, b) => (b.worth > a.worth ? b : a))
    if (!best.grant) break
    givenUp.add(best.grant)
    found = best.after
  }
  const tops = found.map(({ evidence }) => evidence)
  console.log(`${method.name}: ${caught(attacks, tops)} of ${attacks.length} attacks`)
  const limit = (index: number) => Math.ceil((tops[index] ?? 0) * margin * 100) / 100
  const { length } = method.watches
  return method.watches.map((_, index) => ({
    firstWeek: limit(index),
    later: limit(length + index),
    newHost: limit(2 * length + index),
  }))
}

function caught(attacks: readonly Extremes[], limits: readonly number[]): number {
  return attacks.filter((one) => one.some((evidence, index) => evidence > (limits[index] ?? 0) * margin)).length
}

/** Sum of the shares by which limits fell. */
function lowered(before: readonly number[], after: readonly number[]): number {
  return before.reduce((sum, one, index) => sum + (one > 0 ? 1 - (after[index] ?? 0) / one : 0), 0)
}

/** Listens to the detectors of a scorer, whatever it makes of what they say. */
function extremesOf(method: GrantMethod, events: readonly SpendEvent[], fromMs: number): Extremes {
  const { length } = method.watches
  const extremes = new Array<number>(phases.length * length).fill(0)
  const newest = new Array<number>(length).fill(0)
  const scorer = createGrantScorer(
    method.watches.map((watch, index) => ({
      ...watch,
      detector: {
        ...watch.detector,
        score(state, point) {
          const score = watch.detector.score(state, point)
          newest[index] = evidenceOf(score)
          return score
        },
      },
      limits: { firstWeek: 1, later: 1, newHost: 1 },
    })),
  )
  const state = scorer.createState()
  for (const event of events) {
    newest.fill(0)
    const { phase } = scorer.observe(state, event)
    if (event.atMs < fromMs) continue
    const offset = phases.indexOf(phase) * length
    for (let index = 0; index < length; index++) {
      extremes[offset + index] = Math.max(extremes[offset + index] ?? 0, newest[index] ?? 0)
    }
  }
  return extremes
}

async function write(file: string, name: string, from: string, value: unknown): Promise<void> {
  const text = `import type { Limits } from '${from}'

/**
 * Evidence at which each watch raises an alarm, in the order of the watches: a little above the highest that normal traffic
 * of the tuning seeds reached. Written by calibrate.ts; to be measured again after a change of the watches.
 */
export const ${name} = ${JSON.stringify(value)}
`
  await writeFile(new URL(file, import.meta.url), text)
}
