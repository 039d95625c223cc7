import { type Autoregression, createAutoregression, learnAutoregression, predict } from './autoregression.ts'
import {
  createPeriodicity,
  learnPeriod,
  type Periodicity,
  periodError,
  type Range,
  recallPeriod,
  recallRange,
} from './periodicity.ts'
import {
  createSeasonalProfile,
  dayCycle,
  learnProfile,
  profileAt,
  type SeasonalProfile,
  weekCycle,
} from './seasonalProfile.ts'

/**
 * Several ways to expect the next value, each weighted by how well it did lately, so that nobody has to say whether a
 * series is flat, trending, seasonal or returns to its mean.
 */
export type Forecaster = {
  count: number
  last: number
  /** Exponentially weighted levels: about 3, 20 and 100 points. */
  fast: number
  slow: number
  base: number
  autoregression: Autoregression
  /** Mean and variance of the first points, by which the autoregression's values are scaled, and then stay. */
  mean: number
  variance: number
  day: SeasonalProfile | null
  week: SeasonalProfile | null
  periodicity: Periodicity | null
  /** How far the newest values were from the profiles, and from one period ago. */
  dayOffset: number
  weekOffset: number
  periodOffset: number
  /**
   * Mean absolute errors: last, fast, slow, autoregression, day, week, period, period with its offset. And of what is
   * normal: base, day, week, period.
   */
  nextErrors: number[]
  normalErrors: number[]
}

/** Forecasts of all the ways; undefined where a way does not know yet. */
type Ways = (number | undefined)[]
export type Forecast = {
  /** The next value, from the newest ones. */
  next: number
  /** What is normal at this time, whatever the newest values were. */
  normal: number
  /** Both with what they are a few points earlier or later, where the series repeats itself: else the value alone. */
  nextRange: Range
  normalRange: Range
  ways: Ways
  normals: Ways
}

const scaledBy = 200
/** A profile has to have seen this many days, the one that goes on included. */
const leastDays = 3
/** How much of a deviation seen in one week is expected again. */
const weekTrust = 0.7
/** A way that does not know is taken to be this much worse, so that it has to prove itself when it does. */
const handicap = 2
/** The better way by a tenth weighs twice as much. */
const sharpness = 8
/** Places among the ways. */
const [periodWay, periodNormal] = [6, 3]
/** Errors that are so near the least are as good. */
const asGood = 1.1

export function createForecaster(seasons: 'daily and weekly' | 'none'): Forecaster {
  const seasonal = seasons !== 'none'
  return {
    count: 0,
    last: 0,
    fast: 0,
    slow: 0,
    base: 0,
    autoregression: createAutoregression(),
    mean: 0,
    variance: 0,
    day: seasonal ? createSeasonalProfile(dayCycle) : null,
    week: seasonal ? createSeasonalProfile(weekCycle) : null,
    periodicity: seasonal ? createPeriodicity() : null,
    dayOffset: 0,
    weekOffset: 0,
    periodOffset: 0,
    nextErrors: new Array<number>(8).fill(0),
    normalErrors: new Array<number>(4).fill(0),
  }
}

/** At least one value must have been learned. */
export function forecast(forecaster: Forecaster, timestampMs: number): Forecast {
  const { last, fast, slow, base, mean, variance, day, week } = forecaster
  const ofDay = day ? profileAt(day, dayCycle, timestampMs, leastDays) : undefined
  const deviation = week && ofDay !== undefined ? profileAt(week, weekCycle, timestampMs, 1) : undefined
  const ofWeek = ofDay !== undefined && deviation !== undefined ? ofDay + weekTrust * deviation : undefined
  const ofPeriod = forecaster.periodicity ? recallPeriod(forecaster.periodicity) : undefined
  const around = forecaster.periodicity ? recallRange(forecaster.periodicity) : undefined
  const scale = Math.sqrt(variance)
  const ways = [
    last,
    fast,
    slow,
    forecaster.count > 20 && scale > 0
      ? mean + scale * clamp(predict(forecaster.autoregression), largestScaled)
      : undefined,
    ofDay === undefined ? undefined : ofDay + forecaster.dayOffset,
    ofWeek === undefined ? undefined : ofWeek + forecaster.weekOffset,
    ofPeriod,
    ofPeriod === undefined ? undefined : ofPeriod + forecaster.periodOffset,
  ]
  const normals = [base, ofDay, ofWeek, ofPeriod]
  const { nextErrors, normalErrors } = forecaster
  const next = weighted(ways, nextErrors) ?? last
  const normal = weighted(normals, normalErrors) ?? base
  return {
    ways,
    normals,
    next,
    normal,
    nextRange: rangeOf(next, around, isAmongBest(ways, nextErrors, [periodWay, periodWay + 1])),
    normalRange: rangeOf(normal, around, isAmongBest(normals, normalErrors, [periodNormal])),
  }
}

/** @param forecasted what `forecast` said of this point. Undefined for the first. */
export function learnForecast(
  forecaster: Forecaster,
  timestampMs: number,
  value: number,
  forecasted: Forecast | undefined,
): void {
  forecaster.count++
  if (!forecasted) {
    forecaster.last = forecaster.fast = forecaster.slow = forecaster.base = forecaster.mean = value
    if (forecaster.day) learnProfile(forecaster.day, dayCycle, timestampMs, value)
    if (forecaster.periodicity) learnPeriod(forecaster.periodicity, value)
    return
  }
  learnErrors(forecaster, forecaster.nextErrors, forecasted.ways, value, 0.01)
  learnErrors(forecaster, forecaster.normalErrors, forecasted.normals, value, 0.003)
  learnLevels(forecaster, value)
  const [, ofDay, ofWeek, ofPeriod] = forecasted.normals
  if (ofPeriod !== undefined) forecaster.periodOffset += 0.1 * (value - ofPeriod - forecaster.periodOffset)
  if (forecaster.periodicity && learnPeriod(forecaster.periodicity, value)) {
    // How well it would have done is known at once.
    const error = periodError(forecaster.periodicity)
    forecaster.periodOffset = 0
    forecaster.nextErrors[periodWay] = forecaster.nextErrors[periodWay + 1] = error
    forecaster.normalErrors[periodNormal] = error
  }
  if (ofDay !== undefined) forecaster.dayOffset += 0.1 * (value - ofDay - forecaster.dayOffset)
  if (ofWeek !== undefined) forecaster.weekOffset += 0.1 * (value - ofWeek - forecaster.weekOffset)
  if (ofDay !== undefined && forecaster.week) learnProfile(forecaster.week, weekCycle, timestampMs, value - ofDay)
  if (forecaster.day) learnProfile(forecaster.day, dayCycle, timestampMs, value)
}

const largestScaled = 8

function learnLevels(forecaster: Forecaster, value: number): void {
  const rate = (least: number) => Math.max(1 / forecaster.count, least)
  const scale = Math.sqrt(forecaster.variance)
  if (scale > 0) {
    const scaled = clamp((value - forecaster.mean) / scale, largestScaled)
    // An outlier is remembered as what it was, but does not turn the weights around.
    const surprise = clamp(scaled - predict(forecaster.autoregression), 3)
    learnAutoregression(forecaster.autoregression, scaled, surprise)
  }
  forecaster.last = value
  forecaster.fast += rate(0.3) * (value - forecaster.fast)
  forecaster.slow += rate(0.05) * (value - forecaster.slow)
  const step = value - forecaster.base
  forecaster.base += rate(0.01) * (forecaster.count < 20 ? step : clamp(step, 5 * scale))
  if (forecaster.count <= scaledBy) {
    const distance = value - forecaster.mean
    forecaster.variance += (distance * distance - forecaster.variance) / forecaster.count
    forecaster.mean += distance / forecaster.count
  }
}

function learnErrors({ count }: Forecaster, errors: number[], ways: Ways, value: number, leastRate: number): void {
  const rate = Math.max(1 / count, leastRate)
  const known = ways[0] ?? value
  for (let way = 0; way < errors.length; way++) {
    const forecasted = ways[way]
    const error = forecasted === undefined ? handicap * Math.abs(value - known) : Math.abs(value - forecasted)
    const mean = errors[way] ?? 0
    errors[way] = mean + rate * ((count < 10 || mean === 0 ? error : Math.min(error, 6 * mean)) - mean)
  }
}

/** Mean of the ways that know, the better ones by far the heavier. */
function weighted(ways: Ways, errors: readonly number[]): number | undefined {
  let least = Number.POSITIVE_INFINITY
  for (let way = 0; way < ways.length; way++) if (ways[way] !== undefined) least = Math.min(least, errors[way] ?? 0)
  let [sum, weights] = [0, 0]
  for (let way = 0; way < ways.length; way++) {
    const one = ways[way]
    if (one === undefined) continue
    const error = errors[way] ?? 0
    const weight = error === least ? 1 : (least / error) ** sharpness
    sum += weight * one
    weights += weight
  }
  return weights > 0 ? sum / weights : undefined
}

function isAmongBest(ways: Ways, errors: readonly number[], which: readonly number[]): boolean {
  let least = Number.POSITIVE_INFINITY
  ways.forEach((way, index) => {
    if (way !== undefined) least = Math.min(least, errors[index] ?? 0)
  })
  return which.some((way) => (errors[way] ?? 0) <= asGood * least)
}

function rangeOf(value: number, around: Range | undefined, isPeriodic: boolean): Range {
  if (!around || !isPeriodic) return { low: value, high: value }
  return { low: Math.min(value, around.low), high: Math.max(value, around.high) }
}

function clamp(value: number, limit: number): number {
  return Math.min(Math.max(value, -limit), limit)
}
