import { type Detector, type Point, toScore } from '../detector.ts'
import { createForecaster, type Forecast, type Forecaster, forecast, learnForecast } from '../forecaster.ts'
import type { Range } from '../periodicity.ts'
import { createTailModel, learnTail, type TailModel, type TailOptions, tailEvidence } from '../tailModel.ts'

/**
 * The chosen method: how unlikely the value is, by the tails of what this series did so far, against the best forecast of
 * it, against what is normal at this time, summed up over a few and over many points, and in how much it varies.
 */
export type SurpriseOptions = {
  /** Whether times of day and week may explain a value. Costs 1,600 numbers of state, with the newest values for other periods. */
  seasons: 'daily and weekly' | 'none'
  /** Which values are suspicious: of spending, only more than expected. */
  direction: 'up' | 'both'
  /** Deviations are measured in units of at least this, in the series' own unit: a smaller change does not matter. */
  leastSpread: number
  /** The tails are of the deviations in those units. */
  tail: TailOptions
  /** No score before so many points. */
  warmUpPoints: number
  /** Decimal digits of improbability at which the alarm is raised. */
  alarmEvidence: number
}

export type SurpriseState = {
  forecaster: Forecaster
  /** Mean absolute error of the forecast, plain and in parts of the level, which of them is likelier, and the level. */
  plainError: number
  relativeError: number
  level: number
  plainCost: number
  relativeCost: number
  /** Mean absolute distance from what is normal, and mean and variance over very long. */
  distance: number
  longMean: number
  longVariance: number
  /** Distances from normal summed up over about 8 and 30 points, and how large the newest errors of the forecast are. */
  short: number
  long: number
  variation: number
  /** Mean absolute step from one value to the next, and the newest steps in units of it: what goes flat has none. */
  step: number
  stillness: number
  tails: Record<Feature, TailModel>
}

const upward = ['ahead', 'above', 'shortUp', 'longUp'] as const
const others = ['behind', 'below', 'shortDown', 'longDown', 'wilder', 'calmer'] as const
type Feature = (typeof upward)[number] | (typeof others)[number]

/**
 * How much the evidence of a feature counts: less where values of many points make one, which are few, and downwards,
 * where many series have a floor. Found on the tuning series.
 */
const weights: Record<Feature, number> = {
  ahead: 1,
  above: 1,
  shortUp: 1,
  longUp: 0.7,
  behind: 0.9,
  below: 0.7,
  shortDown: 0.7,
  longDown: 0.5,
  wilder: 1,
  calmer: 1,
}
/** Tails narrower than this are taken as that wide, where values of many points make one, which change by little. */
const leastScales: Partial<Record<Feature, number>> = { longUp: 0.05, shortDown: 0.15, longDown: 0.15 }
/**
 * How much evidence counts that the point itself did not give: one that comes back to normal was not forecast but is no
 * anomaly, nor is a good forecast after bad ones.
 */
const incidental = 0.5
/** One error, however large, does not make the series wild. */
const largestVariation = 3

/** For series of any unit and interval. */
export const seriesOptions: SurpriseOptions = {
  seasons: 'daily and weekly',
  direction: 'both',
  leastSpread: 0,
  tail: { share: 0.02, leastScale: 0.02, doubt: 6 },
  warmUpPoints: 50,
  alarmEvidence: 5,
}

export function createSurprise(options: SurpriseOptions): Detector<SurpriseState> {
  const features: readonly Feature[] = options.direction === 'up' ? upward : [...upward, ...others]
  const tailOptions = (feature: Feature): TailOptions => ({
    ...options.tail,
    leastScale: Math.max(options.tail.leastScale, leastScales[feature] ?? 0),
  })
  const watched = features.map((feature) => ({ feature, weight: weights[feature], tail: tailOptions(feature) }))
  return {
    name: 'surprise',
    createState: () => ({
      forecaster: createForecaster(options.seasons),
      plainError: 0,
      relativeError: 0,
      level: 0,
      plainCost: 0,
      relativeCost: 0,
      distance: 0,
      longMean: 0,
      longVariance: 0,
      short: 0,
      long: 0,
      variation: 0.8,
      step: 0,
      stillness: 0.8,
      tails: createTails(),
    }),
    score(state, point) {
      if (state.forecaster.count < options.warmUpPoints) return 0
      const values = measure(state, point, options)
      let evidence = 0
      for (const { feature, weight, tail } of watched) {
        const share = isIncidental(feature, values) ? incidental : 1
        evidence = Math.max(evidence, share * weight * tailEvidence(state.tails[feature], values[feature], tail))
      }
      return toScore(evidence, options.alarmEvidence)
    },
    learn(state, point) {
      const { forecaster } = state
      if (forecaster.count === 0) {
        learnForecast(forecaster, point.timestampMs, point.value, undefined)
        state.longMean = point.value
        return
      }
      const values = measure(state, point, options)
      if (forecaster.count > firstTailPoints) {
        for (const { feature, tail } of watched) learnTail(state.tails[feature], values[feature], tail)
      }
      state.short = values.shortUp
      state.long = values.longUp
      state.variation = values.variation
      state.stillness = values.stillness
      learnStep(state, Math.abs(point.value - forecaster.last))
      learnForecast(forecaster, point.timestampMs, point.value, values.forecasted)
      learnSpread(state, point.value, values.forecasted)
    },
  }
}

/** Before this the scales of everything still jump. */
const firstTailPoints = 20

type Values = Record<Feature, number> & { variation: number; stillness: number; forecasted: Forecast }

function measure(state: SurpriseState, { timestampMs, value }: Point, options: SurpriseOptions): Values {
  const forecasted = forecast(state.forecaster, timestampMs)
  const { next, normal, nextRange, normalRange } = forecasted
  const ahead = bounded(apart(value, next, nextRange) / unitOfForecast(state, next, options.leastSpread), 1e6)
  const above = bounded(apart(value, normal, normalRange) / unitOfNormal(state, options.leastSpread), 1e6)
  // One value alone, however large, does not make a sum.
  const highest = Math.max(2, 1.5 * state.tails.above.quantile)
  const lowest = -Math.max(2, 1.5 * state.tails.below.quantile)
  const summed = Math.min(Math.max(above, lowest), highest)
  const short = state.short + 0.12 * (summed - state.short)
  const long = state.long + 0.03 * (summed - state.long)
  const variation = state.variation + 0.08 * (Math.min(Math.abs(ahead), largestVariation) - state.variation)
  const stepUnit = atLeast(state.step, 0.02 * Math.sqrt(state.longVariance), options.leastSpread)
  const steps = Math.min(Math.abs(value - state.forecaster.last) / stepUnit, 4)
  const stillness = state.stillness + 0.08 * (steps - state.stillness)
  return {
    ahead,
    behind: -ahead,
    above,
    below: -above,
    shortUp: short,
    shortDown: -short,
    longUp: long,
    longDown: -long,
    wilder: Math.log(variation + 0.05),
    calmer: -Math.log(stillness + 0.01),
    variation,
    stillness,
    forecasted,
  }
}

/** How far a value is from what was expected: less far where it would be right a few points earlier or later. */
function apart(value: number, expected: number, { low, high }: Range): number {
  const outside = value > high ? value - high : Math.min(value - low, 0)
  return withinRange * outside + (1 - withinRange) * (value - expected)
}

/** How much of the way into the range is forgiven. */
const withinRange = 0.7

/** Whether the point itself has little to do with what its feature says. */
function isIncidental(feature: Feature, { ahead, above }: Values): boolean {
  if (feature === 'ahead') return above <= 0
  if (feature === 'behind') return above >= 0
  return feature === 'wilder' && Math.abs(ahead) < 1
}

/** Of counts and money the error grows with the level, of most measurements it does not: whichever fits. */
function unitOfForecast(state: SurpriseState, forecasted: number, leastSpread: number): number {
  const relative = state.relativeCost < state.plainCost - 0.02
  const error = relative ? state.relativeError * (Math.abs(forecasted) + state.level) : state.plainError
  return atLeast(error, 0.05 * Math.sqrt(state.longVariance), leastSpread)
}

function unitOfNormal(state: SurpriseState, leastSpread: number): number {
  return atLeast(state.distance, 0.4 * Math.sqrt(state.longVariance), leastSpread)
}

function bounded(value: number, limit: number): number {
  return Math.min(Math.max(value, -limit), limit)
}

/** Not zero, of a series that was always the same too. */
function atLeast(unit: number, share: number, leastSpread: number): number {
  return Math.max(unit, share, leastSpread, 1e-300)
}

function learnSpread(state: SurpriseState, value: number, { next, normal }: Forecast): void {
  const { count } = state.forecaster
  const rate = (least: number) => Math.max(1 / count, least)
  const tamed = (one: number, mean: number) => (count < 10 || mean === 0 ? one : Math.min(one, 6 * mean))
  const error = Math.abs(value - next)
  state.level += rate(0.003) * (0.3 * Math.abs(next) - state.level)
  const relativeUnit = Math.abs(next) + state.level
  const relative = relativeUnit > 0 ? Math.min(error / relativeUnit, 1e6) : 0
  const [plainScale, relativeScale] = [state.plainError, state.relativeError * relativeUnit]
  if (plainScale > 0 && relativeScale > 0) {
    // Negative log likelihood of the error, were it Laplace distributed with this scale.
    state.plainCost += 0.01 * (Math.min(error / plainScale, 8) + Math.log(plainScale) - state.plainCost)
    state.relativeCost += 0.01 * (Math.min(error / relativeScale, 8) + Math.log(relativeScale) - state.relativeCost)
  }
  state.plainError += rate(0.005) * (tamed(error, state.plainError) - state.plainError)
  state.relativeError += rate(0.005) * (tamed(relative, state.relativeError) - state.relativeError)
  const distance = Math.abs(value - normal)
  state.distance += rate(0.003) * (tamed(distance, state.distance) - state.distance)
  state.longMean += rate(0.002) * (value - state.longMean)
  const fromMean = value - state.longMean
  state.longVariance += rate(0.002) * (fromMean * fromMean - state.longVariance)
}

function learnStep(state: SurpriseState, step: number): void {
  const { count } = state.forecaster
  const tamed = count < 10 || state.step === 0 ? step : Math.min(step, 6 * state.step)
  state.step += Math.max(1 / count, 0.003) * (tamed - state.step)
}

function createTails(): Record<Feature, TailModel> {
  return {
    ahead: createTailModel(),
    above: createTailModel(),
    shortUp: createTailModel(),
    longUp: createTailModel(),
    behind: createTailModel(),
    below: createTailModel(),
    shortDown: createTailModel(),
    longDown: createTailModel(),
    wilder: createTailModel(),
    calmer: createTailModel(),
  }
}
