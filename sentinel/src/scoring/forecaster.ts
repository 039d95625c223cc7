import { type Autoregression, createAutoregression, learnAutoregression, predict } from './autoregression.ts'
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
  /** How far the newest values were from the profiles. */
  dayOffset: number
  weekOffset: number
  /** Mean absolute errors: last, fast, slow, autoregression, day, week. And of what is normal: base, day, week. */
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
    dayOffset: 0,
    weekOffset: 0,
    nextErrors: [0, 0, 0, 0, 0, 0],
    normalErrors: [0, 0, 0],
  }
}

/** At least one value must have been learned. */
export function forecast(forecaster: Forecaster, timestampMs: number): Forecast {
  const { last, fast, slow, base, mean, variance, day, week } = forecaster
  const ofDay = day ? profileAt(day, dayCycle, timestampMs, leastDays) : undefined
  const deviation = week && ofDay !== undefined ? profileAt(week, weekCycle, timestampMs, 1) : undefined
  const ofWeek = ofDay !== undefined && deviation !== undefined ? ofDay + weekTrust * deviation : undefined
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
  ]
  const normals = [base, ofDay, ofWeek]
  return {
    ways,
    normals,
    next: weighted(ways, forecaster.nextErrors) ?? last,
    normal: weighted(normals, forecaster.normalErrors) ?? base,
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
    return
  }
  learnErrors(forecaster, forecaster.nextErrors, forecasted.ways, value, 0.01)
  learnErrors(forecaster, forecaster.normalErrors, forecasted.normals, value, 0.003)
  learnLevels(forecaster, value)
  const [, ofDay, ofWeek] = forecasted.normals
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

function clamp(value: number, limit: number): number {
  return Math.min(Math.max(value, -limit), limit)
}
