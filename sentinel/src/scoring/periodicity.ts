/**
 * Finds how many points a series takes to repeat itself, whatever its clock, by the autocorrelation of its newest values,
 * and recalls what was one period ago. Constant memory.
 */
export type Periodicity = {
  /** The newest values, as a ring. */
  values: number[]
  next: number
  /** In points, a fraction in general; 0 while the series is not known to repeat itself. */
  period: number
  untilSearch: number
}

export type Range = { low: number; high: number }

const remembered = 1_024
/** A search costs a million steps, so it is made this often, and less often when its result changes little. */
const searchEvery = 64
const searchEveryLater = 256
const manyPoints = 512
const leastPeriod = 5
/** Seen at least so many times. */
const leastCycles = 3
const leastCorrelation = 0.4
/** Below this, values so far apart have nothing to do with each other: only beyond it may a period begin. */
const forgottenCorrelation = 0.2
/** Of multiples of a period, which correlate as well, the first. */
const asGoodAsBest = 0.9
/** How early or late a part of the period may come: points, and share of the period. */
const [reachPoints, reachShare] = [1, 0.02]

export function createPeriodicity(): Periodicity {
  return { values: [], next: 0, period: 0, untilSearch: searchEvery }
}

/** What was one and two periods before the next point, on average; undefined while no period is known. */
export function recallPeriod(state: Periodicity): number | undefined {
  if (state.period === 0) return undefined
  const once = valueAgo(state, state.period)
  const twice = valueAgo(state, 2 * state.period)
  return once === undefined || twice === undefined ? once : (once + twice) / 2
}

/** The least and the most around then: a series that keeps no exact time has its edges a little earlier or later. */
export function recallRange({ values, next, period }: Periodicity): Range | undefined {
  if (period === 0) return undefined
  const reach = Math.ceil(reachPoints + reachShare * period)
  const range = { low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY }
  for (const cycles of [1, 2]) {
    const centre = Math.round(cycles * period)
    for (let ago = Math.max(1, centre - reach); ago <= centre + reach && ago <= values.length; ago++) {
      const value = values[(next - ago + 2 * remembered) % remembered] ?? 0
      range.low = Math.min(range.low, value)
      range.high = Math.max(range.high, value)
    }
  }
  return range
}

/** Whether another period was found with this value. */
export function learnPeriod(state: Periodicity, value: number): boolean {
  state.values[state.next] = value
  state.next = (state.next + 1) % remembered
  state.untilSearch--
  if (state.untilSearch > 0) return false
  state.untilSearch = state.values.length < manyPoints ? searchEvery : searchEveryLater
  const before = state.period
  state.period = searchPeriod(inOrder(state))
  return state.period > 0 && Math.abs(state.period - before) > 0.5
}

/** Mean absolute difference of the remembered values from those one period before them. */
export function periodError(state: Periodicity): number {
  const values = inOrder(state)
  const lag = Math.round(state.period)
  let sum = 0
  for (let index = lag; index < values.length; index++)
    sum += Math.abs((values[index] ?? 0) - (values[index - lag] ?? 0))
  return sum / Math.max(1, values.length - lag)
}

function inOrder({ values, next }: Periodicity): number[] {
  return values.length < remembered ? values : [...values.slice(next), ...values.slice(0, next)]
}

/** Interpolated between points. One ago is the newest value. */
function valueAgo({ values, next }: Periodicity, ago: number): number | undefined {
  const whole = Math.floor(ago)
  if (whole < 1 || whole + 1 > values.length) return undefined
  const at = (back: number) => values[(next - back + 2 * remembered) % remembered] ?? 0
  return at(whole) + (ago - whole) * (at(whole + 1) - at(whole))
}

function searchPeriod(values: readonly number[]): number {
  const correlations = autocorrelations(withoutTrend(values), Math.floor(values.length / leastCycles))
  const { length } = correlations
  let first = leastPeriod
  while (first < length && (correlations[first] ?? 0) > forgottenCorrelation) first++
  let best = 0
  for (let lag = first; lag < length - 1; lag++) best = Math.max(best, correlations[lag] ?? 0)
  if (best < leastCorrelation) return 0
  for (let lag = first; lag < length - 1; lag++) {
    const [before, here, after] = [correlations[lag - 1] ?? 0, correlations[lag] ?? 0, correlations[lag + 1] ?? 0]
    if (here < asGoodAsBest * best || here < before || here < after) continue
    // The top of the parabola through the three.
    const bend = before - 2 * here + after
    return lag + (bend < 0 ? (0.5 * (before - after)) / bend : 0)
  }
  return 0
}

/** By lag, from 0; empty of a series that never changed. */
function autocorrelations(values: readonly number[], longest: number): number[] {
  const { length } = values
  let power = 0
  for (const one of values) power += one * one
  if (!(power > 0 && Number.isFinite(power))) return []
  const correlations: number[] = []
  for (let lag = 0; lag <= longest; lag++) {
    let sum = 0
    for (let index = lag; index < length; index++) sum += (values[index] ?? 0) * (values[index - lag] ?? 0)
    correlations.push((sum / power) * (length / (length - lag)))
  }
  return correlations
}

/** Less the straight line through them, in units of their mean distance from it, and with outliers drawn in. */
function withoutTrend(values: readonly number[]): number[] {
  const { length } = values
  const middle = (length - 1) / 2
  let [sum, moment] = [0, 0]
  for (let index = 0; index < length; index++) {
    sum += (values[index] ?? 0) / length
    moment += (index - middle) * ((values[index] ?? 0) / length)
  }
  const slope = moment / ((length * length - 1) / 12)
  const rest = values.map((value, index) => value - sum - slope * (index - middle))
  const distance = rest.reduce((total, one) => total + Math.abs(one) / length, 0)
  return distance > 0 ? rest.map((one) => Math.min(Math.max(one / distance, -3), 3)) : rest.fill(0)
}
