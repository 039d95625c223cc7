/**
 * Predicts a value from the ones before it by recursive least squares (Haykin, "Adaptive Filter Theory", chapter 10): it
 * follows waves of any period and how fast a series returns to its mean. Values should be about one in size.
 */
export type Autoregression = { weights: number[]; covariance: number[]; lags: number[] }

export const order = 6
/** Lags, and a constant. */
const size = order + 1
const forgetting = 0.999
/** Ridge of the first fit, and the bound of the covariance where nothing excites it. */
const firstVariance = 1
const largestVariance = 1e4

export function createAutoregression(): Autoregression {
  const covariance = new Array<number>(size * size).fill(0)
  for (let row = 0; row < size; row++) covariance[row * size + row] = firstVariance
  const weights = new Array<number>(size).fill(0)
  // Until it learns better, the last value.
  weights[0] = 1
  return { weights, covariance, lags: new Array<number>(order).fill(0) }
}

export function predict({ weights, lags }: Autoregression): number {
  let sum = weights[order] ?? 0
  for (let lag = 0; lag < order; lag++) sum += (weights[lag] ?? 0) * (lags[lag] ?? 0)
  return sum
}

/** @param surprise the error to learn from: value less prediction, or less of it for an outlier. */
export function learnAutoregression(model: Autoregression, value: number, surprise: number): void {
  const { weights, covariance, lags } = model
  const gains = new Array<number>(size)
  let power = forgetting
  for (let row = 0; row < size; row++) {
    let sum = covariance[row * size + order] ?? 0
    for (let lag = 0; lag < order; lag++) sum += (covariance[row * size + lag] ?? 0) * (lags[lag] ?? 0)
    gains[row] = sum
    power += sum * (row < order ? (lags[row] ?? 0) : 1)
  }
  for (let row = 0; row < size; row++) weights[row] = (weights[row] ?? 0) + ((gains[row] ?? 0) / power) * surprise
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const at = row * size + column
      const next = ((covariance[at] ?? 0) - ((gains[row] ?? 0) * (gains[column] ?? 0)) / power) / forgetting
      covariance[at] = Math.min(Math.max(next, -largestVariance), largestVariance)
    }
  }
  for (let lag = order - 1; lag > 0; lag--) lags[lag] = lags[lag - 1] ?? 0
  lags[0] = value
}
