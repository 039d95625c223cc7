import type { Point } from '../../scoring/detector.ts'
import { createRandom, type Random } from '../../simulation/createRandom.ts'
import type { Clock, Model, Scale, SeriesKind } from './seriesKind.ts'

/** A series and where its anomalies are: indexes of points, both included. */
export type LabelledSeries = { kind: string; points: Point[]; windows: LabelWindow[] }
/**
 * An anomaly changes the points from `first` to `changed`, and is still found in time at `last`. Of one that stays, what is
 * after `last` is the new normal.
 */
export type LabelWindow = { first: number; changed: number; last: number; anomaly: string }

const hour = 3_600_000
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
    windows.push({ first, changed: Math.min(first + took - 1, last), last, anomaly: anomaly.name })
  }
  const size = random.logBetween(1e-3, 1e6)
  const points = timestamps.map((timestampMs, index) => ({ timestampMs, value: (values[index] ?? 0) * size }))
  return { kind: kind.name, ...withoutLost({ points, windows }, model) }
}

/** Indexes of windows are moved with their points; of an anomaly that is lost as a whole, to the point behind it. */
function withoutLost({ points, windows }: Omit<LabelledSeries, 'kind'>, { lost }: Model): Omit<LabelledSeries, 'kind'> {
  if (!lost) return { points, windows }
  const kept = points.map(() => !lost())
  const places: number[] = []
  let count = 0
  for (const one of kept) {
    places.push(count)
    if (one) count++
  }
  const place = (index: number) => Math.min(places[index] ?? count, count - 1)
  const moved = windows.map(({ first, changed, last, anomaly }) => {
    const begin = place(first)
    const end = Math.max(begin, place(changed + 1) - 1)
    return { first: begin, changed: end, last: Math.max(end, place(last)), anomaly }
  })
  return { points: points.filter((_, index) => kept[index]), windows: moved }
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
