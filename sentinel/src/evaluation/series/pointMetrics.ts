import { alarmScore } from '../../scoring/detector.ts'
import type { LabelledSeries } from './syntheticSeries.ts'

/** Counts over many series. Points are counted after the probation of `addPoints`. */
export type PointMetrics = {
  /** Strict: a point is right or wrong by its own label. */
  truePoints: number
  falsePoints: number
  missedPoints: number
  /** Adjusted: an anomaly with one marked point counts as if all its points were marked (Xu et al., WWW 2018). */
  adjustedPoints: number
  /** Ranges: anomalies with a mark in their window; runs of marks that touch no window. */
  ranges: number
  caughtRanges: number
  falseRuns: number
  /** Sums over the series that have an anomaly and normal points: area under the ROC curve, and average precision. */
  aucSum: number
  averagePrecisionSum: number
  rated: number
}

export type Rates = { precision: number; recall: number; f1: number }

/** Marks nearer than this belong to one run. */
const runGap = 30

export function emptyPointMetrics(): PointMetrics {
  return {
    truePoints: 0,
    falsePoints: 0,
    missedPoints: 0,
    adjustedPoints: 0,
    ranges: 0,
    caughtRanges: 0,
    falseRuns: 0,
    aucSum: 0,
    averagePrecisionSum: 0,
    rated: 0,
  }
}

/** Adds the scores (one a point) of a series. The first 15% of the points, at most 750, are for learning. */
export function addPoints(metrics: PointMetrics, { windows, points }: LabelledSeries, scores: readonly number[]): void {
  const probation = Math.min(Math.floor(points.length * 0.15), 750)
  const labels = new Array<boolean>(points.length).fill(false)
  const near = new Array<boolean>(points.length).fill(false)
  for (const { first, changed, last } of windows) {
    labels.fill(true, first, changed + 1)
    near.fill(true, first, last + 1)
    const isMarked = (from: number, to: number) => scores.slice(from, to + 1).some((score) => score >= alarmScore)
    metrics.ranges++
    if (isMarked(first, last)) metrics.caughtRanges++
    if (isMarked(first, changed)) metrics.adjustedPoints += changed - first + 1
  }
  let lastFalse = Number.NEGATIVE_INFINITY
  for (let index = probation; index < points.length; index++) {
    const marked = (scores[index] ?? 0) >= alarmScore
    if (labels[index]) {
      if (marked) metrics.truePoints++
      else metrics.missedPoints++
    } else if (marked) {
      metrics.falsePoints++
      if (near[index]) continue
      if (index - lastFalse > runGap) metrics.falseRuns++
      lastFalse = index
    }
  }
  const ranked = scores
    .map((score, index) => ({ score, label: labels[index] === true }))
    .slice(probation)
    .sort((a, b) => b.score - a.score)
  const positives = ranked.filter(({ label }) => label).length
  if (positives === 0 || positives === ranked.length) return
  metrics.rated++
  metrics.aucSum += areaUnderRoc(ranked, positives)
  metrics.averagePrecisionSum += averagePrecision(ranked, positives)
}

/** Of points, of points with anomalies taken as a whole, and of ranges. */
export function pointRates(metrics: PointMetrics): { strict: Rates; adjusted: Rates; ranges: Rates } {
  const { truePoints, falsePoints, missedPoints, adjustedPoints, ranges, caughtRanges, falseRuns } = metrics
  return {
    strict: rates(truePoints, falsePoints, missedPoints),
    adjusted: rates(adjustedPoints, falsePoints, truePoints + missedPoints - adjustedPoints),
    ranges: rates(caughtRanges, falseRuns, ranges - caughtRanges),
  }
}

function rates(right: number, wrong: number, missed: number): Rates {
  return {
    precision: right / Math.max(right + wrong, 1),
    recall: right / Math.max(right + missed, 1),
    f1: (2 * right) / Math.max(2 * right + wrong + missed, 1),
  }
}

type Ranked = readonly { score: number; label: boolean }[]

/** The share of pairs of an anomalous and a normal point that the score puts in order; equal scores count half. */
function areaUnderRoc(ranked: Ranked, positives: number): number {
  let [above, pairs] = [0, 0]
  forEachScore(ranked, (right, wrong) => {
    pairs += wrong * (above + right / 2)
    above += right
  })
  return pairs / (positives * (ranked.length - positives))
}

function averagePrecision(ranked: Ranked, positives: number): number {
  let [sum, right, all] = [0, 0, 0]
  forEachScore(ranked, (newRight, newWrong) => {
    right += newRight
    all += newRight + newWrong
    sum += newRight * (right / all)
  })
  return sum / positives
}

/** Points with equal scores together, from the highest on. */
function forEachScore(ranked: Ranked, each: (anomalous: number, normal: number) => void): void {
  let index = 0
  while (index < ranked.length) {
    const score = ranked[index]?.score
    let [anomalous, normal] = [0, 0]
    for (; index < ranked.length && ranked[index]?.score === score; index++) {
      if (ranked[index]?.label) anomalous++
      else normal++
    }
    each(anomalous, normal)
  }
}
