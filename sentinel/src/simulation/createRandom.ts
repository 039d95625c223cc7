import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** Draws that depend on the seed alone: the same seed gives the same draws in the same order, on every machine. */
export type Random = {
  /** In [0, 1). */
  uniform(): number
  /** In [low, high). */
  between(low: number, high: number): number
  /** Uniform in the logarithm: as likely in [1, 10) as in [10, 100). Both bounds above zero. */
  logBetween(low: number, high: number): number
  /** Integer in [low, high], both included. */
  integer(low: number, high: number): number
  chance(probability: number): boolean
  pick<T>(items: readonly [T, ...T[]]): T
  /** Mean 0, standard deviation 1. */
  normal(): number
  /** Waiting time of a memoryless process. */
  exponential(mean: number): number
  poisson(mean: number): number
  /** Median `median`; `sigma` is the standard deviation of its logarithm. */
  logNormal(median: number, sigma: number): number
  /** Pareto with the least value `scale`: the smaller the shape, the heavier the tail. */
  pareto(scale: number, shape: number): number
  /** A source of its own, which drawing from this one does not disturb. */
  fork(): Random
}

/** @param seed integer; its low 32 bits count. */
export function createRandom(seed: number): Random {
  const generator = xoroshiro128plus(seed)
  // Seeds that differ in few bits begin alike.
  for (let skipped = 0; skipped < 16; skipped++) generator.next()
  const uniform = () => uniformFloat64(generator)
  const between = (low: number, high: number) => low + (high - low) * uniform()
  const integer = (low: number, high: number) => low + Math.floor(uniform() * (high - low + 1))
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())

  return {
    uniform,
    between,
    logBetween: (low, high) => Math.exp(between(Math.log(low), Math.log(high))),
    integer,
    chance: (probability) => uniform() < probability,
    pick: (items) => items[integer(0, items.length - 1)] ?? items[0],
    normal,
    exponential: (mean) => -mean * Math.log(1 - uniform()),
    poisson(mean) {
      // Above this the normal approximation is within a per cent, and the product below would take long.
      if (mean > 50) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal()))
      const limit = Math.exp(-mean)
      let count = 0
      for (let product = uniform(); product > limit && count < 1_000; product *= uniform()) count++
      return count
    },
    logNormal: (median, sigma) => median * Math.exp(sigma * normal()),
    pareto: (scale, shape) => scale * (1 - uniform()) ** (-1 / shape),
    fork: () => createRandom(integer(0, 2 ** 31 - 1)),
  }
}
