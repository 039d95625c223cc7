import type { Random } from '../../simulation/createRandom.ts'
import {
  contextual,
  pointDip,
  pointSpike,
  rhythmBreak,
  shifted,
  stuck,
  trendBreak,
  variance,
  zeros,
} from './heldOutAnomalies.ts'
import { isWeekend, quickIntervals, type SeriesKind } from './seriesKind.ts'

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/**
 * Held out: written when the method was finished, and measured once. Whoever changes the method after having looked at how
 * it does here moves these to the tuning kinds and writes others.
 */
export const heldOutKinds: readonly SeriesKind[] = [
  {
    name: 'tides',
    intervalsMs: [10 * minute, 15 * minute, hour],
    make: (random) => {
      const [moon, sun, noise] = [random.between(0.8, 1.5), random.between(0.2, 0.6), random.between(0.03, 0.15)]
      return {
        next: (at) =>
          10 +
          moon * Math.sin((2 * Math.PI * at) / (12.42 * hour)) +
          sun * Math.sin((2 * Math.PI * at) / (12 * hour)) +
          noise * random.normal(),
        anomalies: [pointSpike, pointDip, shifted, rhythmBreak, contextual, stuck, zeros],
      }
    },
  },
  {
    name: 'heartbeat',
    intervalsMs: quickIntervals,
    make: (random) => {
      const usual = random.integer(45, 110)
      let [left, length] = [0, usual]
      return {
        next: () => {
          if (left <= 0) left = length = Math.round(usual * (1 + 0.01 * random.normal()))
          const phase = 1 - left-- / length
          return (
            pulse(phase, 0.3, 0.02, 5) -
            pulse(phase, 0.36, 0.02, 1.5) +
            pulse(phase, 0.6, 0.06, 1) +
            0.05 * random.normal()
          )
        },
        anomalies: [pointSpike, shifted, variance, rhythmBreak, contextual, stuck],
      }
    },
  },
  {
    name: 'days without a clock',
    intervalsMs: [second],
    make: (random) => {
      // The timestamps only count points: 48 or 96 to a day.
      const [points, noise, phase] = [random.pick([48, 96]), random.between(0.04, 0.12), random.uniform()]
      return {
        next: (_, index) => {
          const at = (index / points + phase) % 1
          const awake = 1 / (1 + Math.exp(-30 * (at - 0.3))) - 1 / (1 + Math.exp(-20 * (at - 0.85)))
          return 100 * (0.2 + awake) * (1 + noise * random.normal())
        },
        anomalies: [pointSpike, shifted, rhythmBreak, contextual, stuck, zeros],
      }
    },
  },
  {
    name: 'subscribers',
    intervalsMs: [hour],
    make: (random, { length }) => {
      const growth = random.between(0.5, 3)
      return {
        next: (at, index) =>
          1_000 *
          Math.exp((growth * index) / length) *
          (1 + 0.2 * Math.sin((2 * Math.PI * at) / day)) *
          (isWeekend(at) ? 0.8 : 1) *
          (1 + 0.03 * random.normal()),
        anomalies: [pointSpike, pointDip, shifted, trendBreak, stuck, zeros],
      }
    },
  },
  {
    name: 'exchange rate',
    intervalsMs: [minute, hour],
    make: (random) => {
      let logarithm = 0
      return {
        next: () => {
          logarithm = 0.999 * logarithm + 0.002 * random.normal()
          return 1.1 * Math.exp(logarithm)
        },
        anomalies: [pointSpike, pointDip, variance, stuck, zeros],
      }
    },
  },
  {
    name: 'clustered counts',
    intervalsMs: [5 * minute, 15 * minute],
    make: (random) => {
      const mean = random.logBetween(5, 80)
      return {
        // Poisson with a mean that varies itself, by day and at random.
        next: (at) => random.poisson(mean * (1 - 0.6 * Math.cos((2 * Math.PI * at) / day)) * random.logNormal(1, 0.25)),
        anomalies: [pointSpike, shifted, trendBreak, zeros],
      }
    },
  },
  {
    name: 'slow answers',
    intervalsMs: [10 * second, minute],
    make: (random) => {
      let mood = 0
      return {
        next: () => {
          mood = 0.95 * mood + 0.1 * random.normal()
          return 80 * Math.exp(mood + 0.2 * random.normal())
        },
        anomalies: [pointSpike, shifted, variance, trendBreak, stuck],
      }
    },
  },
  {
    name: 'battery',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      let [charge, charging] = [random.between(30, 90), false]
      return {
        next: () => {
          if (charge < 20) charging = true
          if (charge > 95) charging = false
          charge += charging ? random.between(1, 1.6) : -random.between(0.2, 0.5)
          return charge
        },
        anomalies: [pointSpike, pointDip, stuck, zeros],
      }
    },
  },
  {
    name: 'readings with gaps',
    intervalsMs: [5 * minute, 15 * minute],
    make: (random) => {
      const share = random.between(0.02, 0.2)
      return {
        next: (at) => 20 + 4 * Math.sin((2 * Math.PI * at) / day) + 0.5 * random.normal(),
        anomalies: [pointSpike, pointDip, shifted, variance, stuck],
        lost: gaps(random, share),
      }
    },
  },
  {
    name: 'set by hand',
    intervalsMs: quickIntervals,
    make: (random) => {
      let level = random.between(10, 30)
      return {
        next: () => {
          if (random.chance(1 / 120)) level = random.between(10, 30)
          return level + 0.2 * random.normal()
        },
        anomalies: [pointSpike, pointDip, variance, trendBreak],
      }
    },
  },
]

function pulse(phase: number, centre: number, width: number, height: number): number {
  return height * Math.exp(-(((phase - centre) / width) ** 2))
}

/** Single points, and now and then some in a row. */
function gaps(random: Random, share: number): () => boolean {
  let left = 0
  return () => {
    if (left <= 0 && random.chance(share / 20)) left = random.integer(5, 20)
    left--
    return left >= 0 || random.chance(share / 2)
  }
}
