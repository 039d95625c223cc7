import type { Random } from '../../simulation/createRandom.ts'
import type { Anomaly, Scale } from './seriesKind.ts'

/**
 * The kinds of anomalies that benchmarks tell apart, each over a number of points after which the series is as before,
 * unless it says otherwise. How strong one is, is drawn anew each time, in spreads of the normal values.
 */
type Segment = {
  length: number
  /** The normal values of the segment, and all before it. */
  normal: readonly number[]
  before: readonly number[]
  scale: Scale
  random: Random
}

function segment(
  name: string,
  between: readonly [number, number],
  change: (one: Segment) => readonly number[],
): Anomaly {
  return {
    name,
    apply(values, first, random, scale) {
      const length = Math.min(random.integer(between[0], between[1]), values.length - first)
      const normal = values.slice(first, first + length)
      const changed = change({ length, normal, before: values.slice(0, first), scale, random })
      changed.forEach((value, index) => {
        values[first + index] = value
      })
      return length
    },
  }
}

const sign = (random: Random) => (random.chance(0.5) ? 1 : -1)

export const pointSpike = segment('spike', [1, 2], ({ normal, scale, random }) => {
  const height = random.between(0.8, 1.6) * scale.spread
  return normal.map((value) => value + height)
})

export const pointDip = segment('dip', [1, 2], ({ normal, scale, random }) => {
  const depth = random.between(0.8, 1.6) * scale.spread
  return normal.map((value) => value - depth)
})

export const shifted = segment('level shift', [40, 120], ({ normal, scale, random }) => {
  const step = sign(random) * random.between(0.6, 1.2) * scale.spread
  return normal.map((value) => value + step)
})

export const variance = segment('variance change', [40, 120], ({ normal, scale, random }) => {
  const noise = random.between(0.3, 0.6) * scale.spread
  return normal.map((value) => value + noise * random.normal())
})

/** Another slope from here on, which ends as a level that stays. */
export const trendBreak = segment('trend break', [60, 150], ({ normal, scale, random, length }) => {
  const end = sign(random) * random.between(0.8, 1.5) * scale.spread
  return normal.map((value, index) => value + (end * (index + 1)) / length)
})

/** The same values in another order: backwards, or one of another time for each. Nothing is out of range. */
export const contextual = segment('contextual', [30, 80], ({ length, before, random }) => {
  const from = random.integer(0, Math.max(0, before.length - length - 1))
  const other = before.slice(from, from + length)
  return other.reverse()
})

/** Its rhythm at another pace. */
export const rhythmBreak = segment('seasonality break', [60, 150], ({ length, before, random }) => {
  const pace = random.chance(0.5) ? 2 : 0.5
  const from = before.length - Math.ceil(length * pace) - 1
  return Array.from({ length }, (_, index) => before[Math.max(0, from + Math.floor(index * pace))] ?? 0)
})

/** The last value, again and again. */
export const stuck = segment('flat line', [30, 100], ({ length, before }) => {
  const last = before.at(-1) ?? 0
  return new Array<number>(length).fill(last)
})

/** Nothing came, which was written down as zero. */
export const zeros = segment('missing as zero', [5, 40], ({ length }) => new Array<number>(length).fill(0))
