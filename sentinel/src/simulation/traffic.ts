import type { SpendEvent } from '../scoring/spendEvent.ts'
import { createRandom, type Random } from './createRandom.ts'

/** The life of one grant without any attack. */
export type Traffic = { kind: TrafficKind; events: SpendEvent[]; agent: Agent; startMs: number; endMs: number }

export const trafficKinds = ['steady', 'bursty', 'diurnal', 'growing', 'new model launch', 'weekend'] as const
export type TrafficKind = (typeof trafficKinds)[number]

/** What does not change in the life of a grant. */
export type Agent = {
  callsPerDay: number
  services: readonly [Service, ...Service[]]
  hosts: readonly [string, ...string[]]
}
export type Service = { service: string; payee: string; priceAtomic: number; priceSigma: number }

const second = 1_000
const hour = 3_600 * second
const day = 24 * hour
export const simulatedDays = 14

/** Deterministic: the same kind and seed give the same calls, in the order of their time, over two weeks. */
export function simulateTraffic(kind: TrafficKind, seed: number): Traffic {
  // Every kind has its own agents: what is odd about one shall not count six times.
  const random = createRandom(seed * trafficKinds.length + trafficKinds.indexOf(kind))
  const startMs = Date.UTC(2026, 0, 1) + random.integer(0, 27) * day + random.integer(0, 23) * hour
  const endMs = startMs + simulatedDays * day
  const agent = createAgent(random)
  const moments = kind === 'bursty' ? burstyMoments(random, agent, startMs, endMs) : undefined
  const plan = planOf(kind, random, agent, startMs)
  // A third of the agents move to another machine at some time.
  const movedMs = random.chance(0.33) ? random.between(startMs, endMs) : endMs
  const moved = { hosts: [`host-${random.integer(0, 2 ** 31)}`] as const }
  const events = (moments ?? thinnedMoments(random, plan, startMs, endMs)).map((atMs) =>
    callAt(atMs, plan.serviceAt(atMs), atMs < movedMs ? agent : moved, random),
  )
  return { kind, events, agent, startMs, endMs }
}

/** A call as the agent makes it: one in 500 is some times as large as usual. */
export function callAt(atMs: number, service: Service, { hosts }: Pick<Agent, 'hosts'>, random: Random): SpendEvent {
  const amount = random.chance(0.002)
    ? service.priceAtomic * random.between(3, 6)
    : random.logNormal(service.priceAtomic, service.priceSigma)
  return {
    atMs: Math.round(atMs),
    amountAtomic: BigInt(Math.max(1, Math.round(amount))),
    payee: service.payee,
    service: service.service,
    host: random.pick(hosts),
  }
}

function createAgent(random: Random): Agent {
  const priceAtomic = random.logBetween(1_000, 50_000)
  const service = (index: number): Service => ({
    service: `service-${index}`,
    payee: `payee-${index % 2}`,
    priceAtomic: priceAtomic * random.logBetween(0.4, 2.5),
    priceSigma: random.between(0, 0.5),
  })
  const [first, ...more] = Array.from({ length: random.integer(1, 4) }, (_, index) => service(index))
  const [host, ...hosts] = Array.from({ length: random.integer(1, 3) }, () => `host-${random.integer(0, 2 ** 31)}`)
  return {
    callsPerDay: random.logBetween(60, 800),
    services: [first ?? service(0), ...more],
    hosts: [host ?? 'host', ...hosts],
  }
}

/** Calls a millisecond at a time, never above `most`, and which service is called. */
type Plan = { rateAt(atMs: number): number; most: number; serviceAt(atMs: number): Service }

function planOf(kind: TrafficKind, random: Random, agent: Agent, startMs: number): Plan {
  const base = agent.callsPerDay / day
  const anyService = () => random.pick(agent.services)
  const [night, phase] = [random.between(0.02, 0.3), random.uniform() * day]
  const byDay = (atMs: number) =>
    night + (1 - night) * (0.5 + 0.5 * Math.sin((2 * Math.PI * (atMs + phase)) / day)) ** 2
  switch (kind) {
    case 'steady':
    case 'bursty':
      return { rateAt: () => base, most: base, serviceAt: anyService }
    case 'diurnal':
      return { rateAt: (atMs) => 2 * base * byDay(atMs), most: 2 * base, serviceAt: anyService }
    case 'growing': {
      const factor = random.between(1.5, 4)
      const grown = (atMs: number) => factor ** ((atMs - startMs) / (simulatedDays * day))
      const rhythm = random.chance(0.5) ? byDay : () => 0.5
      return { rateAt: (atMs) => 2 * base * rhythm(atMs) * grown(atMs), most: 2 * base * factor, serviceAt: anyService }
    }
    case 'new model launch': {
      const launchMs = startMs + random.between(4, 11) * day
      const rampMs = random.between(1, 8) * hour
      const adopted = random.between(0.4, 0.9)
      const faster = random.between(1, 1.5)
      const old = agent.services[0]
      const model = { ...old, service: 'new-model', priceAtomic: old.priceAtomic * random.between(1.5, 3) }
      const ramp = (atMs: number) => Math.min(Math.max((atMs - launchMs) / rampMs, 0), 1)
      const rhythm = random.chance(0.5) ? byDay : () => 0.5
      return {
        rateAt: (atMs) => 2 * base * rhythm(atMs) * (1 + (faster - 1) * ramp(atMs)),
        most: 2 * base * faster,
        serviceAt: (atMs) => (random.chance(adopted * ramp(atMs)) ? model : anyService()),
      }
    }
    case 'weekend': {
      // Quiet at the week's end, or at work only then.
      const [weekday, weekend] = random.chance(0.7) ? [1, random.between(0.05, 0.4)] : [random.between(0.2, 0.5), 1]
      const share = (atMs: number) => ([0, 6].includes(new Date(atMs).getUTCDay()) ? weekend : weekday)
      return { rateAt: (atMs) => 2 * base * byDay(atMs) * share(atMs), most: 2 * base, serviceAt: anyService }
    }
  }
}

/** An inhomogeneous Poisson process by thinning. */
function thinnedMoments(random: Random, { rateAt, most }: Plan, startMs: number, endMs: number): number[] {
  const moments: number[] = []
  for (let at = startMs + random.exponential(1 / most); at < endMs; at += random.exponential(1 / most)) {
    if (random.uniform() * most < rateAt(at)) moments.push(at)
  }
  return moments
}

/** Tasks of many calls in a row with nothing between, as agents work. */
function burstyMoments(random: Random, { callsPerDay }: Agent, startMs: number, endMs: number): number[] {
  const [median, sigma] = [random.logBetween(5, 40), random.between(0.3, 0.9)]
  const gapMs = random.logBetween(1, 20) * second
  const callsPerTask = median * Math.exp((sigma * sigma) / 2)
  const pauseMs = (day * callsPerTask) / callsPerDay
  const moments: number[] = []
  for (let task = startMs + random.exponential(pauseMs); task < endMs; task += random.exponential(pauseMs)) {
    const calls = Math.min(Math.max(1, Math.round(random.logNormal(median, sigma))), 500)
    let at = task
    for (let call = 0; call < calls && at < endMs; call++) {
      moments.push(at)
      at += random.exponential(gapMs)
    }
  }
  return moments.sort((a, b) => a - b)
}
