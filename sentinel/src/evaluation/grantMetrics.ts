import { alarmScore } from '../scoring/detector.ts'
import type { SpendEvent } from '../scoring/spendEvent.ts'
import { type AttackKind, attackKinds, simulateAttack } from '../simulation/attacks.ts'
import { seedsFrom } from '../simulation/seeds.ts'
import { simulateTraffic, type TrafficKind, trafficKinds } from '../simulation/traffic.ts'

/** Says of every charge of one grant whether the grant is to be frozen. */
export type Watch = (event: SpendEvent) => boolean
export type WatchedMethod = { name: string; watch(): Watch }

/** How one method did. Shares are of 1. */
export type GrantMetrics = {
  method: string
  /** Normal grants that were frozen at least once in their two weeks, by kind of traffic, and all. */
  falseFreezes: Record<TrafficKind, number>
  falseFreezeShare: number
  normalGrants: number
  /** Of all alarms, on normal and attacked grants alike, those during an attack: one a grant at most counts. */
  precision: number
  /** Attacks with an alarm before they ended. */
  recall: number
  attacks: number
  byAttack: Record<AttackKind, AttackMetrics>
  detectSeconds: Quantiles
  lostCharges: Quantiles
  /** Of what the thief would have taken, what was taken up to and with the charge that raised the alarm. */
  lostShare: number
  microsecondsPerEvent: number
}
export type AttackMetrics = { caught: number; attacks: number; detectSeconds: Quantiles; lostShare: number }
/** Of the attacks that were caught; null when none was. */
export type Quantiles = { median: number | null; p95: number | null }

export type Sample = { trafficSeed: number; grantsPerKind: number; attackSeed: number; attacksPerPair: number }

type Outcome = { falseAlarm: boolean; caughtMs?: number; charges: number; lostAtomic: number; totalAtomic: number }

/** Watches every simulated grant with every method. One pass over the traffic, so that it is made once. */
export function measureGrants(methods: readonly WatchedMethod[], sample: Sample): GrantMetrics[] {
  const runs = methods.map(({ name }) => ({
    name,
    normal: emptyCounts(),
    frozen: 0,
    elapsedMs: 0,
    events: 0,
    attacked: new Map<AttackKind, Outcome[]>(),
  }))
  for (const kind of trafficKinds) {
    for (const seed of seedsFrom(sample.trafficSeed, sample.grantsPerKind)) {
      const { events } = simulateTraffic(kind, seed)
      methods.forEach((method, index) => {
        const run = runs[index]
        if (!run) return
        const outcome = timed(run, events.length, () =>
          watchAll(method.watch(), events, () => false, Number.POSITIVE_INFINITY),
        )
        if (!outcome.falseAlarm) return
        run.normal[kind]++
        run.frozen++
      })
    }
  }
  for (const attack of attackKinds) {
    for (const kind of trafficKinds) {
      for (const seed of seedsFrom(sample.attackSeed, sample.attacksPerPair)) {
        const { events, hostile, beganMs } = simulateAttack(attack, kind, seed)
        methods.forEach((method, index) => {
          const run = runs[index]
          if (!run) return
          const outcome = timed(run, events.length, () =>
            watchAll(method.watch(), events, (at) => hostile[at] === true, beganMs),
          )
          run.attacked.set(attack, [...(run.attacked.get(attack) ?? []), outcome])
        })
      }
    }
  }
  const normalGrants = trafficKinds.length * sample.grantsPerKind
  return runs.map((run) => {
    const outcomes = [...run.attacked.values()].flat()
    const caught = outcomes.filter(({ caughtMs }) => caughtMs !== undefined)
    const falseAlarms = run.frozen + outcomes.filter(({ falseAlarm }) => falseAlarm).length
    return {
      method: run.name,
      falseFreezes: run.normal,
      falseFreezeShare: run.frozen / normalGrants,
      normalGrants,
      precision: caught.length / Math.max(caught.length + falseAlarms, 1),
      recall: caught.length / outcomes.length,
      attacks: outcomes.length,
      byAttack: Object.fromEntries(
        attackKinds.map((attack) => [attack, attackMetrics(run.attacked.get(attack) ?? [])]),
      ) as Record<AttackKind, AttackMetrics>,
      detectSeconds: quantiles(caught.map(({ caughtMs }) => (caughtMs ?? 0) / 1_000)),
      lostCharges: quantiles(caught.map(({ charges }) => charges)),
      lostShare: lostShareOf(outcomes),
      microsecondsPerEvent: (run.elapsedMs * 1_000) / run.events,
    }
  })
}

/**
 * An alarm before the attack is a false one; the owner lifts the freeze and the watch goes on. The first alarm from the
 * first hostile charge on ends it, whoever's charge raised it.
 */
function watchAll(
  watch: Watch,
  events: readonly SpendEvent[],
  isHostile: (index: number) => boolean,
  beganMs: number,
): Outcome {
  const outcome: Outcome = { falseAlarm: false, charges: 0, lostAtomic: 0, totalAtomic: 0 }
  let begun = false
  for (let index = 0; index < events.length; index++) {
    const event = events[index]
    if (!event) break
    const hostile = isHostile(index)
    begun ||= hostile
    const amount = Number(event.amountAtomic)
    if (hostile) outcome.totalAtomic += amount
    // Frozen: the rest of the attack is only counted.
    if (outcome.caughtMs !== undefined) continue
    if (hostile) {
      outcome.lostAtomic += amount
      outcome.charges++
    }
    if (!watch(event)) continue
    if (begun) outcome.caughtMs = event.atMs - beganMs
    else outcome.falseAlarm = true
  }
  return outcome
}

function timed<T>(run: { elapsedMs: number; events: number }, events: number, work: () => T): T {
  const startedMs = performance.now()
  const result = work()
  run.elapsedMs += performance.now() - startedMs
  run.events += events
  return result
}

function attackMetrics(outcomes: readonly Outcome[]): AttackMetrics {
  const caught = outcomes.filter(({ caughtMs }) => caughtMs !== undefined)
  return {
    caught: caught.length,
    attacks: outcomes.length,
    detectSeconds: quantiles(caught.map(({ caughtMs }) => (caughtMs ?? 0) / 1_000)),
    lostShare: lostShareOf(outcomes),
  }
}

/** The mean over attacks of each one's share, so that a large one counts no more than a small one. */
function lostShareOf(outcomes: readonly Outcome[]): number {
  const shares = outcomes.map(({ lostAtomic, totalAtomic }) => lostAtomic / totalAtomic)
  return shares.reduce((sum, one) => sum + one, 0) / Math.max(shares.length, 1)
}

function quantiles(values: readonly number[]): Quantiles {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.ceil(sorted.length * share) - 1] ?? null
  return { median: at(0.5), p95: at(0.95) }
}

function emptyCounts(): Record<TrafficKind, number> {
  return { steady: 0, bursty: 0, diurnal: 0, growing: 0, 'new model launch': 0, weekend: 0 }
}

export function isAlarm(score: number): boolean {
  return score >= alarmScore
}
