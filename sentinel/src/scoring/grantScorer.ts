import { type Detector, toScore } from './detector.ts'
import type { SpendEvent } from './spendEvent.ts'

/**
 * Scores every charge of a grant. What is watched are not the charges alone but how much money and how many calls there
 * were lately, and how much of the time it was busy, over windows from ten seconds to a day, as sums that fade: so a climb
 * shows within its first seconds and a drip within its first hours. All in natural logarithms, because what matters is how
 * many times the usual something is.
 */
export type GrantScorer = {
  createState(): GrantState
  /**
   * In [0, 1), `alarmScore` or more is an alarm. Takes the event into the state, in place. Events come in the order of
   * their time; an earlier one counts as of the latest moment.
   */
  observe(state: GrantState, event: SpendEvent): GrantScore
}

/** One detector on one of the watched values. */
export type Watcher = {
  watched: Watched
  /** 0 of an amount or a price. */
  windowMs: number
  detector: Detector<unknown>
  limits: Limits
}
/**
 * The amount of a charge among all, among those of its service; the sum of money, or of calls, in a window; and how many
 * sixtieths of the window had a call in them, which tells a task of many calls from calls all day long.
 */
export type Watched = 'amount' | 'price' | 'money' | 'calls' | 'busy'
/**
 * Evidence at which the alarm is raised: while the grant has not seen a whole week with its weekend, after that, and for
 * calls of a host that is new to the grant, whatever its age.
 */
export type Limits = Record<Phase, number>
export const phases = ['firstWeek', 'later', 'newHost'] as const
export type Phase = (typeof phases)[number]

/** What the score is the highest of, so that an alarm can be explained. `windowMs` is 0 of an amount or a price. */
export type GrantScore = { score: number; watched: Watched; windowMs: number; method: string; phase: Phase }

/** Plain JSON of bounded size. */
export type GrantState = {
  firstMs: number
  lastMs: number
  windows: Window[]
  /** Of the detectors, one a watcher; of those of prices, one a service. */
  watchers: unknown[]
  services: Known[]
  hosts: Known[]
}
type Window = { money: number; calls: number; busy: number; sampledMs: number }
/** One of the names that came last: its place among the states, and when it came first and last. */
type Known = { name: string; firstMs: number; lastMs: number }

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** Each four to eight times the one before. */
export const windowsMs = [10 * second, 80 * second, 10 * minute, hour, 6 * hour, day] as const
/** A window is learned from at most so many times in its length: during a climb no more than otherwise. */
const samplesPerWindow = 8
/** A gap between two calls makes the window busy for as long, but at most for one part. */
const partsPerWindow = 60
/** No score before the grant is a day old, or two for the windows that see a day's rhythm as a whole. */
const warmUpMs = day
const warmUpWindows = 24
const longestWarmUpMs = 2 * day
const firstWeekMs = 8 * day
/** A host is new for so long after its first call. */
const newHostMs = day
const hostsKept = 8
const servicesKept = 16

export function createGrantScorer(watchers: readonly Watcher[]): GrantScorer {
  return {
    createState: () => ({
      firstMs: 0,
      lastMs: 0,
      windows: windowsMs.map(() => ({ money: 0, calls: 0, busy: 0, sampledMs: 0 })),
      watchers: watchers.map(({ watched, detector }) => (watched === 'price' ? [] : detector.createState())),
      services: [],
      hosts: [],
    }),
    observe(state, event) {
      if (state.firstMs === 0) state.firstMs = state.lastMs = event.atMs
      const timestampMs = Math.max(event.atMs, state.lastMs)
      const ageMs = timestampMs - state.firstMs
      const amount = Number(event.amountAtomic)
      const sampled = add(state, amount, timestampMs)
      const service = remember(state.services, event.service, timestampMs, servicesKept)
      const newHost = isNewHost(state, event.host, timestampMs)
      const phase = newHost ? 'newHost' : ageMs < firstWeekMs ? 'firstWeek' : 'later'
      const best: GrantScore = { score: 0, watched: 'amount', windowMs: 0, method: '', phase }
      for (let index = 0; index < watchers.length; index++) {
        const watcher = watchers[index]
        if (!watcher) break
        const { watched, windowMs, detector, limits } = watcher
        const at = windowsMs.indexOf(windowMs as (typeof windowsMs)[number])
        const window = state.windows[at]
        const sum =
          window && watched !== 'amount' && watched !== 'price' ? window[watched] / filled(ageMs, windowMs) : amount
        const point = { timestampMs, value: Math.log1p(sum) }
        const known = watched === 'price' ? ofService(state, index, service, detector) : state.watchers[index]
        if (ageMs > Math.min(Math.max(warmUpMs, warmUpWindows * windowMs), longestWarmUpMs)) {
          const score = toScore(evidenceOf(detector.score(known, point)), limits[phase])
          if (score > best.score) {
            best.score = score
            best.watched = watched
            best.windowMs = windowMs
            best.method = detector.name
          }
        }
        if (sampled[at] ?? true) detector.learn(known, point)
      }
      return best
    },
  }
}

/** What `toScore` made of it, of a detector whose alarm is at an evidence of one. */
export function evidenceOf(score: number): number {
  return score / (1 - score)
}

/** Adds the amount to the fading sums. Which of the windows are to be learned from now, one flag each. */
function add(state: GrantState, amount: number, timestampMs: number): boolean[] {
  const passedMs = timestampMs - state.lastMs
  state.lastMs = timestampMs
  return state.windows.map((window, index) => {
    const windowMs = windowsMs[index] ?? day
    const kept = Math.exp(-passedMs / windowMs)
    window.money = window.money * kept + amount
    window.calls = window.calls * kept + 1
    window.busy = window.busy * kept + Math.min((passedMs * partsPerWindow) / windowMs, 1)
    if (timestampMs - window.sampledMs < windowMs / samplesPerWindow) return false
    window.sampledMs = timestampMs
    // What is not half full yet tells little about a full one.
    return timestampMs - state.firstMs > windowMs / 2
  })
}

/** The share of a window that the life of the grant fills: what its sums would be otherwise, were it older. */
function filled(ageMs: number, windowMs: number): number {
  return Math.max(1 - Math.exp(-ageMs / windowMs), 0.001)
}

/** The state of this service's prices. Of a place that another service had, it begins anew. */
function ofService(state: GrantState, watcher: number, service: Remembered, detector: Detector<unknown>): unknown {
  const states = state.watchers[watcher] as unknown[]
  if (service.isNew) states[service.place] = detector.createState()
  return states[service.place]
}

/** Whether the host first called less than a day ago, and the grant is older. */
function isNewHost(state: GrantState, host: string | undefined, atMs: number): boolean {
  if (host === undefined) return false
  const isFirst = state.hosts.length === 0
  const { firstMs } = remember(state.hosts, host, atMs, hostsKept)
  // With nothing to compare it to, a host is the agent's own: calls that came before told none.
  if (isFirst) state.hosts[0] = { name: host, firstMs: state.firstMs, lastMs: atMs }
  if (isFirst) return false
  return firstMs - state.firstMs > warmUpMs && atMs - firstMs < newHostMs
}

type Remembered = { place: number; firstMs: number; isNew: boolean }

/** Keeps the `most` names that came last; a new one takes the place of the one that did not come for the longest. */
function remember(known: Known[], name: string, atMs: number, most: number): Remembered {
  let oldest = 0
  for (let place = 0; place < known.length; place++) {
    const one = known[place]
    if (!one) break
    if (one.name === name) {
      one.lastMs = atMs
      return { place, firstMs: one.firstMs, isNew: false }
    }
    if (one.lastMs < (known[oldest]?.lastMs ?? 0)) oldest = place
  }
  const place = known.length < most ? known.length : oldest
  known[place] = { name, firstMs: atMs, lastMs: atMs }
  return { place, firstMs: atMs, isNew: true }
}
