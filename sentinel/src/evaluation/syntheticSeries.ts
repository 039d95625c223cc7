import type { Point } from '../scoring/detector.ts'
import { createRandom, type Random } from '../simulation/createRandom.ts'

/** A series and where its anomalies are: indexes of points, both included. */
export type LabelledSeries = { kind: string; points: Point[]; windows: LabelWindow[] }
export type LabelWindow = { first: number; last: number; anomaly: string }

export type SeriesKind = {
  name: string
  intervalsMs: readonly [number, ...number[]]
  make(random: Random, clock: Clock): Model
}

/** Values of a normal life, one a call, and the anomalies that make sense in it. */
type Model = {
  next(at: number, index: number): number
  anomalies: readonly [Anomaly, ...Anomaly[]]
  irregular?: boolean
}
/** Changes the normal values from `first` on, for at most `length` points. Says how many it took. */
type Anomaly = { name: string; apply(values: number[], first: number, random: Random, scale: Scale): number }
/** Spread of the normal values, and points a day. */
type Scale = { spread: number; upper: number; lower: number; pointsPerDay: number }
type Clock = { intervalMs: number; length: number; pointsPerDay: number }

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** Deterministic: the same kind and seed give the same series. About a quarter of the series have no anomaly. */
export function syntheticSeries(kind: SeriesKind, seed: number): LabelledSeries {
  const random = createRandom(seed)
  const intervalMs = random.pick(kind.intervalsMs)
  const clock = { intervalMs, length: random.integer(1_000, 5_000), pointsPerDay: day / intervalMs }
  const model = kind.make(random, clock)
  const timestamps = timestampsOf(random, clock, model.irregular === true)
  const values = timestamps.map((at, index) => model.next(at, index))

  const windows: LabelWindow[] = []
  const scale = scaleOf(values, clock)
  const count = random.pick([0, 1, 1, 2])
  for (let index = 0; index < count; index++) {
    // Each in its own part of the series, after a first fifth without any.
    const part = (clock.length * 0.8) / count
    const first = Math.floor(clock.length * 0.2 + part * index + part * random.between(0.05, 0.6))
    const anomaly = random.pick(model.anomalies)
    const took = anomaly.apply(values, first, random, scale)
    const tolerance = Math.ceil(clock.length * 0.02)
    const last = Math.min(values.length - 1, first + Math.max(Math.min(took, Math.floor(part * 0.35)), tolerance))
    windows.push({ first, last, anomaly: anomaly.name })
  }
  const size = random.logBetween(1e-3, 1e6)
  const points = timestamps.map((timestampMs, index) => ({ timestampMs, value: (values[index] ?? 0) * size }))
  return { kind: kind.name, points, windows }
}

function timestampsOf(random: Random, { intervalMs, length }: Clock, irregular: boolean): number[] {
  let at = Date.UTC(2024, 0, 1) + random.integer(0, 6) * day + random.integer(0, 23) * hour
  return Array.from({ length }, () => {
    at += irregular ? Math.max(1, Math.round(random.exponential(intervalMs))) : intervalMs
    return at
  })
}

function scaleOf(values: readonly number[], { pointsPerDay }: Clock): Scale {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  // Of a series that is nearly always zero, what it is otherwise.
  const [lower, upper] = [at(0.005), at(0.995) || at(1)]
  return { spread: Math.max(upper - lower, Math.abs(upper) * 0.02, 1e-9), upper, lower, pointsPerDay }
}

// Anomalies

const change = (name: string, length: (random: Random, scale: Scale) => number, value: Change): Anomaly => ({
  name,
  apply(values, first, random, scale) {
    const last = Math.min(values.length, first + Math.max(1, Math.round(length(random, scale))))
    const strength = random.between(1, 2)
    const before = values.slice(Math.max(0, first - 20), first)
    const level = before.reduce((sum, one) => sum + one, 0) / Math.max(1, before.length)
    for (let index = first; index < last; index++) {
      const share = (index - first + 1) / (last - first)
      values[index] = value({ value: values[index] ?? 0, share, strength, level, scale, random, values, index })
    }
    return last - first
  },
})
type Change = (at: {
  value: number
  share: number
  strength: number
  level: number
  scale: Scale
  random: Random
  values: readonly number[]
  index: number
}) => number

const few = (random: Random) => random.integer(1, 4)
const tens = (random: Random) => random.integer(20, 60)
const rest = () => Number.MAX_SAFE_INTEGER
const oneDay = (_: Random, scale: Scale) => Math.min(Math.max(scale.pointsPerDay, 10), 300)

const spike = change('spike', few, ({ value, strength, scale }) => value + 1.2 * strength * scale.spread)
const dip = change('dip', few, ({ value, strength, scale }) => value - 1.2 * strength * scale.spread)
const surge = change('surge', tens, ({ value, strength, scale }) => value + strength * scale.spread)
const levelShift = change('level shift', rest, ({ value, strength, scale }) => value + 0.8 * strength * scale.spread)
const drift = change(
  'drift',
  tens,
  ({ value, share, strength, scale }) => value + 1.5 * share * strength * scale.spread,
)
const noisier = change(
  'noisier',
  tens,
  ({ value, strength, scale, random }) => value + random.normal() * 0.7 * strength * scale.spread,
)
const flat = change('flat line', tens, ({ level }) => level)
const flatDay = change('flat day', oneDay, ({ level }) => level)
const climb = change(
  'climb',
  tens,
  ({ value, share, strength, scale }) => value + (Math.expm1(share * 3) / 19) * 3 * strength * scale.spread,
)
const denser = change('denser bursts', tens, ({ value, scale, random }) =>
  random.chance(0.6) ? Math.max(value, scale.upper * random.between(0.6, 1.1)) : value,
)
const manyTimes = change('many times more', tens, ({ value, strength, scale, random }) =>
  Math.round((value + scale.upper * random.between(0.5, 1.5)) * strength),
)
const outage = change('outage', tens, () => 0)
const reversed = change(
  'day and night swapped',
  oneDay,
  ({ values, index, scale, value }) => values[index - Math.floor(Math.min(scale.pointsPerDay, 600) / 2)] ?? value,
)
const slide = change(
  'slow slide',
  (random) => random.integer(150, 300),
  ({ value, share, strength, scale }) => value - share * strength * scale.spread,
)
const extraPeak = change(
  'peak at the wrong time',
  (random) => random.integer(3, 8),
  ({ scale, level }) => level + 0.9 * scale.spread,
)

// Kinds that the method was tuned on

const quick: readonly [number, ...number[]] = [second, 10 * second, minute, 5 * minute]
const slow: readonly [number, ...number[]] = [5 * minute, 15 * minute, 30 * minute, hour]

/** Tuned on: nothing here may be reported as held out. */
export const tuningKinds: readonly SeriesKind[] = [
  {
    name: 'flat',
    intervalsMs: [...quick, hour, day],
    make: (random) => {
      const level = random.between(0, 20)
      return { next: () => level + random.normal(), anomalies: [spike, dip, surge, levelShift, noisier, flat] }
    },
  },
  {
    name: 'daily rhythm',
    intervalsMs: slow,
    make: (random) => {
      const [noise, phase, weekend] = [random.between(0.05, 0.3), random.uniform(), random.between(0.3, 1)]
      return {
        next: (at) =>
          Math.max(
            0,
            (1.2 + Math.sin(2 * Math.PI * (at / day + phase))) * (isWeekend(at) ? weekend : 1) +
              noise * random.normal(),
          ),
        anomalies: [spike, surge, levelShift, flatDay, climb],
      }
    },
  },
  {
    name: 'trend',
    intervalsMs: [...quick, ...slow],
    make: (random, { length }) => {
      const slope = (random.between(-1, 1) * 30) / length
      return {
        next: (_, index) => 50 + slope * index + random.normal(),
        anomalies: [spike, dip, levelShift, drift, surge],
      }
    },
  },
  {
    name: 'bursts',
    intervalsMs: quick,
    make: (random) => {
      const every = random.between(15, 80)
      let left = 0
      return {
        next: () => {
          if (left <= 0 && random.chance(1 / every)) left = random.integer(1, 6)
          left -= 1
          return left >= 0 ? random.between(6, 12) : Math.abs(random.normal())
        },
        anomalies: [spike, surge, denser, climb],
      }
    },
  },
  {
    name: 'sparse counts',
    intervalsMs: [minute, 5 * minute, hour],
    make: (random) => {
      const mean = random.logBetween(0.03, 2)
      return { next: () => random.poisson(mean), anomalies: [manyTimes, climb, spike] }
    },
  },
  {
    name: 'autocorrelated',
    intervalsMs: [...quick, ...slow],
    make: (random) => {
      const memory = random.between(0.5, 0.97)
      let value = 0
      return {
        next: () => {
          value = memory * value + random.normal()
          return 10 + value
        },
        anomalies: [spike, dip, levelShift, noisier, flat],
      }
    },
  },
  {
    name: 'payments',
    intervalsMs: [10 * second, minute],
    make: (random) => {
      const sigma = random.between(0.1, 0.8)
      return { next: () => random.logNormal(1, sigma), anomalies: [spike, surge, manyTimes], irregular: true }
    },
  },
]

// Kinds that the method was not tuned on

/** Held out: other shapes, tails and clocks than the ones the method was tuned on. */
export const heldOutKinds: readonly SeriesKind[] = [
  {
    name: 'machine temperature',
    intervalsMs: [5 * minute, hour],
    make: (random) => {
      let [slowPart, fastPart] = [0, 0]
      return {
        next: () => {
          slowPart = 0.999 * slowPart + 0.1 * random.normal()
          fastPart = 0.8 * fastPart + 0.3 * random.normal()
          return 85 + slowPart + fastPart
        },
        anomalies: [dip, slide, levelShift, drift],
      }
    },
  },
  {
    name: 'mentions',
    intervalsMs: [5 * minute],
    make: (random) => {
      const mean = random.logBetween(3, 60)
      return {
        next: (at) => random.poisson(mean * (1 + 0.7 * Math.sin((2 * Math.PI * at) / day)) * random.logNormal(1, 0.4)),
        anomalies: [manyTimes, surge, spike],
      }
    },
  },
  {
    name: 'processor with backups',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      const [every, wide, height] = [random.integer(40, 300), random.integer(1, 8), random.between(20, 60)]
      return {
        next: (_, index) =>
          Math.max(0, 5 + random.normal() + (index % every < wide ? height + 2 * random.normal() : 0)),
        anomalies: [extraPeak, surge, levelShift, spike],
      }
    },
  },
  {
    name: 'auction prices',
    intervalsMs: [hour],
    make: (random) => {
      const sigma = random.between(0.4, 1)
      return { next: () => random.logNormal(1, sigma), anomalies: [spike, surge, levelShift] }
    },
  },
  {
    name: 'travel time',
    intervalsMs: [10 * minute],
    make: (random) => {
      const peak = random.between(1, 4)
      return {
        next: (at) => {
          const hourOfDay = (at % day) / hour
          const rush = isWeekend(at) ? 0 : bump(hourOfDay, 8, 1.5) + bump(hourOfDay, 17.5, 2)
          return 10 + peak * 3 * rush + random.logNormal(1, 0.5)
        },
        anomalies: [surge, spike, manyTimes],
        irregular: true,
      }
    },
  },
  {
    name: 'sawtooth',
    intervalsMs: [...quick, hour],
    make: (random) => {
      const period = random.integer(20, 200)
      return {
        next: (_, index) => 10 + 20 * ((index % period) / period) + 0.4 * random.normal(),
        anomalies: [spike, surge, flat, levelShift],
      }
    },
  },
  {
    name: 'wave of any period',
    intervalsMs: quick,
    make: (random) => {
      const [period, second] = [random.between(12, 150), random.between(0, 0.6)]
      return {
        next: (_, index) => {
          const phase = (2 * Math.PI * index) / period
          return Math.sin(phase) + second * Math.sin(2 * phase + 1) + 0.1 * random.normal()
        },
        anomalies: [spike, flat, noisier, levelShift, dip],
      }
    },
  },
  {
    name: 'latency',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      const floor = random.between(5, 50)
      return {
        next: () => floor + random.exponential(3) + (random.chance(0.01) ? random.pareto(10, 2.5) : 0),
        anomalies: [surge, levelShift, climb],
      }
    },
  },
  {
    name: 'requests of a week',
    intervalsMs: [15 * minute, hour],
    make: (random) => {
      const [peak, night] = [random.between(50, 500), random.between(0.02, 0.3)]
      return {
        next: (at) => {
          const hourOfDay = (at % day) / hour
          const share = night + (1 - night) * Math.exp(-(((hourOfDay - 14) / 4) ** 2))
          return random.poisson(peak * share * (isWeekend(at) ? 0.35 : 1) * random.logNormal(1, 0.08))
        },
        anomalies: [outage, reversed, manyTimes, surge],
      }
    },
  },
  {
    name: 'mostly nothing',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      const [often, size] = [random.logBetween(0.005, 0.1), random.between(0.2, 0.9)]
      return {
        next: () => (random.chance(often) ? random.logNormal(100, size) : 0),
        anomalies: [manyTimes, denser, climb],
      }
    },
  },
]

function isWeekend(at: number): boolean {
  const weekday = new Date(at).getUTCDay()
  return weekday === 0 || weekday === 6
}

function bump(hourOfDay: number, centre: number, width: number): number {
  return Math.exp(-(((hourOfDay - centre) / width) ** 2))
}
