import type { Random } from '../../simulation/createRandom.ts'

export type SeriesKind = {
  name: string
  intervalsMs: readonly [number, ...number[]]
  make(random: Random, clock: Clock): Model
}

/** Values of a normal life, one a call, and the anomalies that make sense in it. */
export type Model = {
  next(at: number, index: number): number
  anomalies: readonly [Anomaly, ...Anomaly[]]
  irregular?: boolean
  /** Whether the next point is missing: it has no line, as if nobody had measured. */
  lost?(): boolean
}
/** Changes the normal values from `first` on, for at most `length` points. Says how many it took. */
export type Anomaly = { name: string; apply(values: number[], first: number, random: Random, scale: Scale): number }
/** Spread of the normal values, and points a day. */
export type Scale = { spread: number; upper: number; lower: number; pointsPerDay: number }
export type Clock = { intervalMs: number; length: number; pointsPerDay: number }

const second = 1_000
const minute = 60 * second
const hour = 60 * minute

export const quickIntervals: readonly [number, ...number[]] = [second, 10 * second, minute, 5 * minute]
export const slowIntervals: readonly [number, ...number[]] = [5 * minute, 15 * minute, 30 * minute, hour]

export function isWeekend(at: number): boolean {
  const weekday = new Date(at).getUTCDay()
  return weekday === 0 || weekday === 6
}
