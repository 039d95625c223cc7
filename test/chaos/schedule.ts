import {
  crashPoints,
  type Fault,
  type FaultDetails,
  gateways,
  processes,
  type ServiceName,
  services,
  wires,
} from './fault.ts'
import { createRandom, type Random } from './random.ts'

const settlements = ['settlement-1', 'settlement-2'] as const satisfies ServiceName[]

/** After so many seconds without a word from it another process takes a gateway's charges over. */
const pastAdoptionMs = 12_000
/** After so long the lease of a settlement worker is over. */
const pastLeaseMs = 33_000

/**
 * What goes wrong and in which order: a pure function of the seed. Every crash point, every depth of a reorganisation
 * and every other kind comes at least once, then whatever the dice say; fewer faults than that leave out the last kinds.
 */
export function createSchedule({ seed, faults }: { seed: number; faults: number }): Fault[] {
  const random = createRandom(seed)
  const due = dueFaults(random).slice(0, faults)
  while (due.length < faults) due.push(drawFault(random))
  return random.shuffle(due).map((fault, index) => ({ ...fault, index, pauseMs: random.whole(100, 900) }))
}

/** What no long run goes without; the most telling first. */
function dueFaults(random: Random): FaultDetails[] {
  const due: FaultDetails[] = []
  for (const point of crashPoints.gateway) due.push(crashOf(random, random.pick(gateways), point))
  for (const point of crashPoints.settlement) due.push(crashOf(random, random.pick(settlements), point))
  for (const point of crashPoints.paymaster) due.push(crashOf(random, 'paymaster', point))
  due.push({ kind: 'redis-flush' }, { kind: 'redis-restart', data: 'lost' }, { kind: 'redis-restart', data: 'kept' })
  due.push({ kind: 'postgres-restart', how: 'killed' }, { kind: 'postgres-restart', how: 'fast' })
  due.push({ kind: 'bundler-restart' }, redisPause(random), latePaymaster(random), duplicated(random))
  for (const process of processes) due.push({ kind: 'kill', process })
  for (let depth = 1; depth <= 5; depth++) {
    due.push({ kind: 'reorganisation', depth, transactions: 'lost' })
    due.push({ kind: 'reorganisation', depth, transactions: 'kept' })
  }
  for (const process of services) due.push(clockJump(random, process))
  due.push({ kind: 'chain-clock', bySeconds: random.whole(5, 15) })
  due.push({ kind: 'pause', process: random.pick(gateways), forMs: pastAdoptionMs })
  due.push({ kind: 'pause', process: random.pick(settlements), forMs: pastLeaseMs })
  for (const wire of wires)
    due.push({ kind: 'cut', wire, how: random.pick(['refused', 'silent']), forMs: cutMs(random) })
  return due
}

/** How often each kind is drawn, of `sum of weights`. */
const weights: readonly (readonly [number, (random: Random) => FaultDetails])[] = [
  [30, (random) => ({ kind: 'kill', process: random.pick(processes) })],
  [20, drawCrash],
  [4, (random) => ({ kind: 'pause', process: random.pick(processes), forMs: random.whole(1_000, 6_000) })],
  [6, (random) => clockJump(random, random.pick(services))],
  [
    10,
    (random) => ({
      kind: 'cut',
      wire: random.pick(wires),
      how: random.pick(['refused', 'silent']),
      forMs: cutMs(random),
    }),
  ],
  [2, () => ({ kind: 'redis-flush' })],
  [3, (random) => ({ kind: 'redis-restart', data: random.pick(['kept', 'kept', 'lost']) })],
  [2, redisPause],
  [4, (random) => ({ kind: 'postgres-restart', how: random.pick(['fast', 'killed']) })],
  [3, () => ({ kind: 'bundler-restart' })],
  [8, (random) => ({ kind: 'reorganisation', depth: random.whole(1, 5), transactions: random.pick(['kept', 'lost']) })],
  [3, duplicated],
  [3, latePaymaster],
]

function drawFault(random: Random): FaultDetails {
  let left = random.whole(
    1,
    weights.reduce((sum, [weight]) => sum + weight, 0),
  )
  for (const [weight, draw] of weights) {
    left -= weight
    if (left <= 0) return draw(random)
  }
  throw new RangeError('The weights do not add up.')
}

function drawCrash(random: Random): FaultDetails {
  const process = random.pick(services)
  if (process === 'paymaster') return crashOf(random, process, random.pick(crashPoints.paymaster))
  const isGateway = process === 'gateway-1' || process === 'gateway-2'
  return crashOf(random, process, random.pick(isGateway ? crashPoints.gateway : crashPoints.settlement))
}

function crashOf(
  random: Random,
  process: ServiceName,
  point: (typeof crashPoints)[keyof typeof crashPoints][number],
): FaultDetails {
  const most = point.startsWith('charge.')
    ? 30
    : point.startsWith('journal.')
      ? 10
      : point.startsWith('sponsor.')
        ? 3
        : 1
  return { kind: 'crash', process, point, hit: random.whole(1, most) }
}

function clockJump(random: Random, process: ServiceName): FaultDetails {
  const byMs = random.whole(5_000, 60_000) * random.pick([1, -1])
  return { kind: 'clock', process, byMs, forMs: random.whole(1_000, 4_000) }
}

function cutMs(random: Random): number {
  return random.whole(500, 4_000)
}

function redisPause(random: Random): FaultDetails {
  return { kind: 'redis-pause', forMs: random.whole(1_000, 6_000) }
}

function latePaymaster(random: Random): FaultDetails {
  return { kind: 'late-paymaster', byMs: random.whole(1_000, 12_000), forMs: random.whole(3_000, 6_000) }
}

function duplicated(random: Random): FaultDetails {
  return { kind: 'duplicated-usage', copies: random.whole(1, 8) }
}
