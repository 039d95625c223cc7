/**
 * How likely a value as large as this is, judged by the largest values so far. Beyond a tracked high quantile the peaks
 * are taken as generalised Pareto, fitted by their two first moments (peaks over threshold; Siffer et al., "Anomaly
 * Detection in Streams with Extreme Value Theory", KDD 2017). A run of values above the quantile is one peak, learned when
 * it has ended: so what goes on at this moment never makes itself look normal. At most 17 numbers, and it forgets.
 */
export type TailModel = {
  count: number
  /** Mean distance of values from the quantile: the unit of its steps. */
  spread: number
  quantile: number
  /** Weight, mean and mean square of the peaks, as excesses over the quantile. */
  peaks: number
  mean: number
  square: number
  /** The largest excess of the run that goes on; 0 when none does. */
  open: number
  /** The newest peaks that were remarkable, as values. What came twice is no longer an anomaly. */
  remarkable: number[]
}

export type TailOptions = {
  /** The share of values above the quantile. */
  share: number
  /** The mean excess is taken as at least this, for tails that are narrower than what matters. */
  leastScale: number
  /** After this many peaks the evidence counts half; 0 where `leastScale` is trusted before any was seen. */
  doubt: number
}

const spreadRate = 0.001
const quantileRate = 0.005
const rememberedPeaks = 100
/** As many peaks as this are assumed to have been exponential: a few do not tell a heavy tail from a light one. */
const assumedPeaks = 100
const [lightestShape, heaviestShape] = [-0.1, 0.4]
/** What is learned of one peak at most, in means of the peaks, so that one outlier does not hide the next. */
const largestLearned = 6
/** Evidence of a remarkable peak; of a value that remarkable peaks reached before; how near is as large; how often. */
const remarkableEvidence = 3.5
const familiarEvidence = 3
const familiarFactor = 1.5
const familiarAfter = 2
const remarkableKept = 10
/** Beyond this no fit of a tail can be trusted. */
const largestEvidence = 15
/** How much a point without a peak tells, in peaks. */
const pointsAsPeaks = 0.005

export function createTailModel(): TailModel {
  return { count: 0, spread: 0, quantile: 0, peaks: 0, mean: 0, square: 0, open: 0, remarkable: [] }
}

/**
 * The decimal logarithm, turned positive, of the probability of a value of at least this; 0 where it is in the bulk.
 */
export function tailEvidence(tail: TailModel, value: number, options: TailOptions): number {
  const evidence = evidenceOf(tail, value - tail.quantile, options)
  if (evidence <= familiarEvidence) return evidence
  let reached = 0
  for (const peak of tail.remarkable) if (peak * familiarFactor >= value) reached++
  return reached >= familiarAfter ? familiarEvidence : evidence
}

export function learnTail(tail: TailModel, value: number, options: TailOptions): void {
  tail.count++
  if (tail.count === 1) {
    tail.quantile = value
    return
  }
  const excess = value - tail.quantile
  const distance = Math.abs(excess)
  const bounded = tail.spread > 0 ? Math.min(distance, 10 * tail.spread) : distance
  tail.spread += (bounded - tail.spread) * Math.max(1 / tail.count, spreadRate)
  if (excess > 0) tail.open = Math.max(tail.open, excess)
  else if (tail.open > 0) learnPeak(tail, options)
  // Robbins-Monro: rises so much further than it falls that only the share of the tail stays above.
  const step = tail.spread * Math.max(3 / (tail.count + 10), quantileRate)
  tail.quantile += excess > 0 ? step * (1 - options.share) : -step * options.share
}

function learnPeak(tail: TailModel, options: TailOptions): void {
  if (evidenceOf(tail, tail.open, options) > remarkableEvidence) {
    tail.remarkable.push(tail.open + tail.quantile)
    if (tail.remarkable.length > remarkableKept) tail.remarkable.shift()
  }
  tail.peaks = Math.min(tail.peaks + 1, rememberedPeaks)
  const learned =
    tail.peaks < 3 ? tail.open : Math.min(tail.open, largestLearned * Math.max(tail.mean, options.leastScale))
  tail.mean += (learned - tail.mean) / tail.peaks
  tail.square += (learned * learned - tail.square) / tail.peaks
  tail.open = 0
}

function evidenceOf({ count, peaks, mean, square }: TailModel, excess: number, options: TailOptions): number {
  if (!(excess > 0)) return 0
  // Moments of the generalised Pareto distribution: mean = scale / (1 - shape), mean²/variance = 1 - 2 shape.
  const variance = square - mean * mean
  const fitted = variance > 0 ? 0.5 * (1 - (mean * mean) / variance) : 0
  const shape = Math.min(Math.max((fitted * peaks) / (peaks + assumedPeaks), lightestShape), heaviestShape)
  const scale = Math.max(mean * (1 - shape), options.leastScale)
  if (!(scale > 0)) return 0
  const ratio = excess / scale
  const exponent = Math.abs(shape) < 1e-3 ? ratio : Math.log1p(Math.max(shape * ratio, -1 + 1e-7)) / shape
  const evidence = Math.min((exponent - Math.log(options.share)) / Math.LN10, largestEvidence)
  // A long time without any peak is knowledge too: what never changed is not expected to.
  const known = peaks + count * pointsAsPeaks
  return options.doubt > 0 ? evidence * (known / (known + options.doubt)) : evidence
}
