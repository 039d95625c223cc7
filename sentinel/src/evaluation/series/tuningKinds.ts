import {
  climb,
  denser,
  dip,
  drift,
  extraPeak,
  flat,
  flatDay,
  levelShift,
  manyTimes,
  noisier,
  outage,
  reversed,
  slide,
  spike,
  surge,
} from './anomalies.ts'
import { moreTuningKinds } from './moreTuningKinds.ts'
import { isWeekend, quickIntervals, type SeriesKind, slowIntervals } from './seriesKind.ts'

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** What the method was tuned on: nothing here may be reported as held out. */
export const tuningKinds: readonly SeriesKind[] = [
  {
    name: 'flat',
    intervalsMs: [...quickIntervals, hour, day],
    make: (random) => {
      const level = random.between(0, 20)
      return { next: () => level + random.normal(), anomalies: [spike, dip, surge, levelShift, noisier, flat] }
    },
  },
  {
    name: 'daily rhythm',
    intervalsMs: slowIntervals,
    make: (random) => {
      const [noise, phase, weekend] = [random.between(0.05, 0.3), random.uniform(), random.between(0.3, 1)]
      return {
        next: (at) =>
          Math.max(
            0,
            (1.2 + Math.sin(2 * Math.PI * (at / day + phase))) * (isWeekend(at) ? weekend : 1) +
              noise * random.normal(),
          ),
        anomalies: [spike, surge, levelShift, flatDay, climb],
      }
    },
  },
  {
    name: 'trend',
    intervalsMs: [...quickIntervals, ...slowIntervals],
    make: (random, { length }) => {
      const slope = (random.between(-1, 1) * 30) / length
      return {
        next: (_, index) => 50 + slope * index + random.normal(),
        anomalies: [spike, dip, levelShift, drift, surge],
      }
    },
  },
  {
    name: 'bursts',
    intervalsMs: quickIntervals,
    make: (random) => {
      const every = random.between(15, 80)
      let left = 0
      return {
        next: () => {
          if (left <= 0 && random.chance(1 / every)) left = random.integer(1, 6)
          left -= 1
          return left >= 0 ? random.between(6, 12) : Math.abs(random.normal())
        },
        anomalies: [spike, surge, denser, climb],
      }
    },
  },
  {
    name: 'sparse counts',
    intervalsMs: [minute, 5 * minute, hour],
    make: (random) => {
      const mean = random.logBetween(0.03, 2)
      return { next: () => random.poisson(mean), anomalies: [manyTimes, climb, spike] }
    },
  },
  {
    name: 'autocorrelated',
    intervalsMs: [...quickIntervals, ...slowIntervals],
    make: (random) => {
      const memory = random.between(0.5, 0.97)
      let value = 0
      return {
        next: () => {
          value = memory * value + random.normal()
          return 10 + value
        },
        anomalies: [spike, dip, levelShift, noisier, flat],
      }
    },
  },
  {
    name: 'payments',
    intervalsMs: [10 * second, minute],
    make: (random) => {
      const sigma = random.between(0.1, 0.8)
      return { next: () => random.logNormal(1, sigma), anomalies: [spike, surge, manyTimes], irregular: true }
    },
  },
  {
    name: 'machine temperature',
    intervalsMs: [5 * minute, hour],
    make: (random) => {
      let [slowPart, fastPart] = [0, 0]
      return {
        next: () => {
          slowPart = 0.999 * slowPart + 0.1 * random.normal()
          fastPart = 0.8 * fastPart + 0.3 * random.normal()
          return 85 + slowPart + fastPart
        },
        anomalies: [dip, slide, levelShift, drift],
      }
    },
  },
  {
    name: 'mentions',
    intervalsMs: [5 * minute],
    make: (random) => {
      const mean = random.logBetween(3, 60)
      return {
        next: (at) => random.poisson(mean * (1 + 0.7 * Math.sin((2 * Math.PI * at) / day)) * random.logNormal(1, 0.4)),
        anomalies: [manyTimes, surge, spike],
      }
    },
  },
  {
    name: 'processor with backups',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      const [every, wide, height] = [random.integer(40, 300), random.integer(1, 8), random.between(20, 60)]
      return {
        next: (_, index) =>
          Math.max(0, 5 + random.normal() + (index % every < wide ? height + 2 * random.normal() : 0)),
        anomalies: [extraPeak, surge, levelShift, spike],
      }
    },
  },
  {
    name: 'auction prices',
    intervalsMs: [hour],
    make: (random) => {
      const sigma = random.between(0.4, 1)
      return { next: () => random.logNormal(1, sigma), anomalies: [spike, surge, levelShift] }
    },
  },
  {
    name: 'travel time',
    intervalsMs: [10 * minute],
    make: (random) => {
      const peak = random.between(1, 4)
      return {
        next: (at) => {
          const hourOfDay = (at % day) / hour
          const rush = isWeekend(at) ? 0 : bump(hourOfDay, 8, 1.5) + bump(hourOfDay, 17.5, 2)
          return 10 + peak * 3 * rush + random.logNormal(1, 0.5)
        },
        anomalies: [surge, spike, manyTimes],
        irregular: true,
      }
    },
  },
  {
    name: 'sawtooth',
    intervalsMs: [...quickIntervals, hour],
    make: (random) => {
      const period = random.integer(20, 200)
      return {
        next: (_, index) => 10 + 20 * ((index % period) / period) + 0.4 * random.normal(),
        anomalies: [spike, surge, flat, levelShift],
      }
    },
  },
  {
    name: 'wave of any period',
    intervalsMs: quickIntervals,
    make: (random) => {
      const [period, second] = [random.between(12, 150), random.between(0, 0.6)]
      return {
        next: (_, index) => {
          const phase = (2 * Math.PI * index) / period
          return Math.sin(phase) + second * Math.sin(2 * phase + 1) + 0.1 * random.normal()
        },
        anomalies: [spike, flat, noisier, levelShift, dip],
      }
    },
  },
  {
    name: 'latency',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      const floor = random.between(5, 50)
      return {
        next: () => floor + random.exponential(3) + (random.chance(0.01) ? random.pareto(10, 2.5) : 0),
        anomalies: [surge, levelShift, climb],
      }
    },
  },
  {
    name: 'requests of a week',
    intervalsMs: [15 * minute, hour],
    make: (random) => {
      const [peak, night] = [random.between(50, 500), random.between(0.02, 0.3)]
      return {
        next: (at) => {
          const hourOfDay = (at % day) / hour
          const share = night + (1 - night) * Math.exp(-(((hourOfDay - 14) / 4) ** 2))
          return random.poisson(peak * share * (isWeekend(at) ? 0.35 : 1) * random.logNormal(1, 0.08))
        },
        anomalies: [outage, reversed, manyTimes, surge],
      }
    },
  },
  {
    name: 'mostly nothing',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      const [often, size] = [random.logBetween(0.005, 0.1), random.between(0.2, 0.9)]
      return {
        next: () => (random.chance(often) ? random.logNormal(100, size) : 0),
        anomalies: [manyTimes, denser, climb],
      }
    },
  },
  ...moreTuningKinds,
]

function bump(hourOfDay: number, centre: number, width: number): number {
  return Math.exp(-(((hourOfDay - centre) / width) ** 2))
}
