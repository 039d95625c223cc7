import { type Detector, type Point, toScore } from '../detector.ts'
import { createForecaster, type Forecast, type Forecaster, forecast, learnForecast } from '../forecaster.ts'
import { createTailModel, learnTail, type TailModel, type TailOptions, tailEvidence } from '../tailModel.ts'

/**
 * The chosen method: how unlikely the value is, by the tails of what this series did so far, against the best forecast of
 * it, against what is normal at this time, summed up over a few and over many points, and in how much it varies.
 */
export type SurpriseOptions = {
  /** Whether times of day and week may explain a value. Costs 540 numbers of state. */
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
  /** Distances from normal summed up over about 8 and 30 points, and how much the values vary. */
  short: number
  long: number
  variation: number
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
/** What comes back to normal was expected less by the forecast, but is no anomaly. */
const returning = 0.5

/** For series of any unit and interval. */
export const seriesOptions: SurpriseOptions = {
  seasons: 'daily and weekly',
  direction: 'both',
  leastSpread: 0,
  tail: { share: 0.02, leastScale: 0.02, doubt: 4 },
  warmUpPoints: 50,
  alarmEvidence: 5,
}

export function createSurprise(options: SurpriseOptions): Detector<SurpriseState> {
  const features: readonly Feature[] = options.direction === 'up' ? upward : [...upward, ...others]
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
      tails: createTails(),
    }),
    score(state, point) {
      if (state.forecaster.count < options.warmUpPoints) return 0
      const values = measure(state, point, options)
      let evidence = 0
      for (const feature of features) {
        const weight = weights[feature] * (isReturning(feature, values) ? returning : 1)
        evidence = Math.max(evidence, weight * tailEvidence(state.tails[feature], values[feature], options.tail))
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
        for (const feature of features) learnTail(state.tails[feature], values[feature], options.tail)
      }
      state.short = values.shortUp
      state.long = values.longUp
      state.variation = values.variation
      learnForecast(forecaster, point.timestampMs, point.value, values.forecasted)
      learnSpread(state, point.value, values.forecasted)
    },
  }
}

/** Before this the scales of everything still jump. */
const firstTailPoints = 20

type Values = Record<Feature, number> & { variation: number; forecasted: Forecast }

function measure(state: SurpriseState, { timestampMs, value }: Point, options: SurpriseOptions): Values {
  const forecasted = forecast(state.forecaster, timestampMs)
  const ahead = (value - forecasted.next) / unitOfForecast(state, forecasted.next, options.leastSpread)
  const above = (value - forecasted.normal) / unitOfNormal(state, options.leastSpread)
  // One value alone, however large, does not make a sum.
  const highest = Math.max(2, 1.5 * state.tails.above.quantile)
  const lowest = -Math.max(2, 1.5 * state.tails.below.quantile)
  const bounded = Math.min(Math.max(above, lowest), highest)
  const short = state.short + 0.12 * (bounded - state.short)
  const long = state.long + 0.03 * (bounded - state.long)
  const variation = state.variation + 0.08 * (Math.min(Math.abs(ahead), 8) - state.variation)
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
    calmer: -Math.log(variation + 0.01),
    variation,
    forecasted,
  }
}

function isReturning(feature: Feature, { above }: Values): boolean {
  return (feature === 'ahead' && above <= 0) || (feature === 'behind' && above >= 0)
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

/** Not zero, of a series that was always the same too. */
function atLeast(unit: number, share: number, leastSpread: number): number {
  return Math.max(unit, share, leastSpread, 1e-300)
}

function learnSpread(state: SurpriseState, value: number, { next, normal }: Forecast): void {
  const { count } = state.forecaster
  const rate = (least: number) => Math.max(1 / count, least)
  const bounded = (one: number, mean: number) => (count < 10 || mean === 0 ? one : Math.min(one, 6 * mean))
  const error = Math.abs(value - next)
  state.level += rate(0.003) * (0.3 * Math.abs(next) - state.level)
  const relativeUnit = Math.abs(next) + state.level
  const relative = relativeUnit > 0 ? error / relativeUnit : 0
  const [plainScale, relativeScale] = [state.plainError, state.relativeError * relativeUnit]
  if (plainScale > 0 && relativeScale > 0) {
    // Negative log likelihood of the error, were it Laplace distributed with this scale.
    state.plainCost += 0.01 * (Math.min(error / plainScale, 8) + Math.log(plainScale) - state.plainCost)
    state.relativeCost += 0.01 * (Math.min(error / relativeScale, 8) + Math.log(relativeScale) - state.relativeCost)
  }
  state.plainError += rate(0.005) * (bounded(error, state.plainError) - state.plainError)
  state.relativeError += rate(0.005) * (bounded(relative, state.relativeError) - state.relativeError)
  const distance = Math.abs(value - normal)
  state.distance += rate(0.003) * (bounded(distance, state.distance) - state.distance)
  state.longMean += rate(0.002) * (value - state.longMean)
  const fromMean = value - state.longMean
  state.longVariance += rate(0.002) * (fromMean * fromMean - state.longVariance)
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
