import type { SpendEvent } from '../scoring/spendEvent.ts'
import { createRandom, type Random } from './createRandom.ts'
import { callAt, simulateTraffic, type Traffic, type TrafficKind, trafficKinds } from './traffic.ts'

export const attackKinds = [
  'vertical climb',
  'slow drip',
  'many small calls',
  'one huge call',
  'stolen key from a new host',
] as const
export type AttackKind = (typeof attackKinds)[number]

/** Normal traffic up to the attack, and both together from there to its end. */
export type Attacked = {
  attack: AttackKind
  traffic: Traffic
  events: SpendEvent[]
  /** Which of the events are the thief's, one flag each. */
  hostile: boolean[]
  beganMs: number
}

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/**
 * Deterministic. The attack begins between the fourth and the thirteenth day; the agent's own calls go on. How strong each
 * kind is, is drawn from a range that is written at its function.
 */
export function simulateAttack(attack: AttackKind, trafficKind: TrafficKind, seed: number): Attacked {
  const attackSeed = seed * attackKinds.length + attackKinds.indexOf(attack)
  const traffic = simulateTraffic(trafficKind, attackSeed)
  // A source of its own: the same seed without an attack is the same life.
  const random = createRandom(-attackSeed * trafficKinds.length - trafficKinds.indexOf(trafficKind))
  const beganMs = Math.round(traffic.startMs + random.between(3, 12) * day)
  const stolen = hostileEvents(attack, traffic, beganMs, random)
  const endMs = stolen.at(-1)?.atMs ?? beganMs
  const own = traffic.events.filter(({ atMs }) => atMs <= endMs)
  const both = [
    ...own.map((event) => ({ event, hostile: false })),
    ...stolen.map((event) => ({ event, hostile: true })),
  ].sort((a, b) => a.event.atMs - b.event.atMs)
  return {
    attack,
    traffic,
    beganMs,
    events: both.map(({ event }) => event),
    hostile: both.map(({ hostile }) => hostile),
  }
}

function hostileEvents(attack: AttackKind, { agent }: Traffic, beganMs: number, random: Random): SpendEvent[] {
  const stranger = { hosts: [`stranger-${random.integer(0, 2 ** 31)}`] as const }
  // A thief who runs on the agent's own machine, or behind its address.
  const inside = { hosts: agent.hosts }
  const service = random.pick(agent.services)
  const every = day / agent.callsPerDay
  switch (attack) {
    // The usual calls, 1 to 50 a second from one moment to the next, for at most ten minutes.
    case 'vertical climb': {
      const gap = second / random.logBetween(1, 50)
      return evenly(beganMs, gap, 10 * minute, 2_000, random).map((at) => callAt(at, service, inside, random))
    }
    // The usual calls, 3 to 8 times as often as the agent's mean, day and night, for two days.
    case 'slow drip':
      return evenly(beganMs, every / random.between(3, 8), 2 * day, 20_000, random).map((at) =>
        callAt(at, service, inside, random),
      )
    // A twentieth to a fifth of the usual price, 1 to 10 a second, for at most half an hour.
    case 'many small calls': {
      const small = { ...service, priceAtomic: service.priceAtomic * random.between(0.05, 0.2) }
      const gap = second / random.logBetween(1, 10)
      return evenly(beganMs, gap, 30 * minute, 3_000, random).map((at) => callAt(at, small, inside, random))
    }
    // Once, 20 to 500 times the usual price.
    case 'one huge call':
      return [
        callAt(beganMs, { ...service, priceAtomic: service.priceAtomic * random.logBetween(20, 500) }, inside, random),
      ]
    // The usual calls from elsewhere, 4 to 20 times as often as the agent's mean, for six hours.
    case 'stolen key from a new host':
      return evenly(beganMs, every / random.between(4, 20), 6 * hour, 20_000, random).map((at) =>
        callAt(at, service, stranger, random),
      )
  }
}

/** One every `gapMs`, give or take a half, over `forMs`, at most `most`. */
function evenly(beganMs: number, gapMs: number, forMs: number, most: number, random: Random): number[] {
  const moments: number[] = []
  for (let at = beganMs; at < beganMs + forMs && moments.length < most; at += gapMs * random.between(0.5, 1.5)) {
    moments.push(at)
  }
  return moments
}
