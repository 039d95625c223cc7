import { writeFile } from 'node:fs/promises'
import { createGrantScorer, evidenceOf, type Limits, phases } from '../scoring/grantScorer.ts'
import type { SpendEvent } from '../scoring/spendEvent.ts'
import { attackKinds, simulateAttack } from '../simulation/attacks.ts'
import { seedsFrom, tuningSeeds } from '../simulation/seeds.ts'
import { simulateTraffic, trafficKinds } from '../simulation/traffic.ts'
import { grantLimits } from './grantLimits.ts'
import { chosenName, type GrantMethod, grantMethods } from './grantMethods.ts'

// npx tsx sentinel/src/evaluation/calibrate.ts [method]: measures the limits of every method, or of one, on the tuning
// seeds, and writes them to grantLimits.ts and scoring/spendLimits.ts. Format these afterwards.

const grantsPerKind = 500
const attacksPerPair = 16
/** The share of normal grants whose extremes may be given up, for the attacks that lower limits catch. */
const givenUpShare = 0.003
const margin = 1.03

/** The highest evidence of every watch in the life of one grant, one phase after the other. */
type Extremes = number[]

const [only] = process.argv.slice(2)
const limits: Record<string, readonly Limits[]> = { ...grantLimits }
for (const method of grantMethods) {
  if (only !== undefined && method.name !== only) continue
  const found = calibrate(method)
  if (method.name === chosenName)
    await write('../scoring/spendLimits.ts', 'spendLimits: readonly Limits[]', './grantScorer.ts', found)
  else limits[method.name] = found
}
const type = 'grantLimits: Readonly<Record<string, readonly Limits[]>>'
await write('./grantLimits.ts', type, '../scoring/grantScorer.ts', limits)

/**
 * A little above the highest evidence of every watch over normal traffic, but for a few grants: those whose extremes cost
 * the most attacks, one after the other.
 */
function calibrate(method: GrantMethod): Limits[] {
  const normal = trafficKinds.flatMap((kind) =>
    seedsFrom(tuningSeeds.traffic, grantsPerKind).map((seed) =>
      extremesOf(method, simulateTraffic(kind, seed).events, 0),
    ),
  )
  const attacks = attackKinds.flatMap((attack) =>
    trafficKinds.flatMap((kind) =>
      seedsFrom(tuningSeeds.attacks, attacksPerPair).map((seed) => {
        const { events, beganMs } = simulateAttack(attack, kind, seed)
        return extremesOf(method, events, beganMs)
      }),
    ),
  )
  let kept = normal
  let found = highest(kept)
  for (let givenUp = 0; givenUp < Math.floor(normal.length * givenUpShare); givenUp++) {
    const candidates = found.map((top, index) => kept.find((grant) => (grant[index] ?? 0) >= top) ?? [])
    const options = [...new Set(candidates)].map((grant) => {
      const rest = kept.filter((one) => one !== grant)
      const limits = highest(rest)
      return { rest, limits, worth: caught(attacks, limits) + 0.001 * lowered(found, limits) }
    })
    const best = options.reduce((a, b) => (b.worth > a.worth ? b : a))
    kept = best.rest
    found = best.limits
  }
  const tops = found.map((top) => Math.ceil(top * margin * 100) / 100)
  const { length } = method.watches
  const result = method.watches.map((_, index) => ({
    firstWeek: tops[index] ?? 0,
    later: tops[length + index] ?? 0,
    newHost: tops[2 * length + index] ?? 0,
  }))
  console.log(`${method.name}: ${caught(attacks, tops)} of ${attacks.length} attacks`)
  return result
}

function highest(grants: readonly Extremes[]): number[] {
  const [first = []] = grants
  return first.map((_, index) => grants.reduce((top, grant) => Math.max(top, grant[index] ?? 0), 0))
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
