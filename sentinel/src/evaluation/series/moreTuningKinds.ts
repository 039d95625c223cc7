import { climb, dip, drift, levelShift, manyTimes, noisier, outage, reversed, spike, surge } from './anomalies.ts'
import { isWeekend, quickIntervals, type SeriesKind } from './seriesKind.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

/** Were held out until the method was changed after a look at them. */
export const moreTuningKinds: readonly SeriesKind[] = [
  {
    name: 'wandering level',
    intervalsMs: [...quickIntervals, hour],
    make: (random) => {
      let level = 0
      return {
        next: () => {
          level = 0.998 * level + random.normal()
          return 500 + level
        },
        anomalies: [dip, levelShift, noisier],
      }
    },
  },
  {
    name: 'on and off',
    intervalsMs: quickIntervals,
    make: (random) => {
      const [period, duty] = [random.integer(25, 180), random.between(0.2, 0.7)]
      return {
        next: (_, index) => (index % period < duty * period ? 40 : 4) + random.normal(),
        anomalies: [spike, levelShift, surge, outage],
      }
    },
  },
  {
    name: 'orders of a growing shop',
    intervalsMs: [15 * minute, 30 * minute, hour],
    make: (random, { length }) => {
      const [size, growth] = [random.logBetween(5, 200), random.between(0, 1)]
      return {
        next: (at, index) => {
          const hourOfDay = (at % day) / hour
          const rhythm =
            0.1 + Math.exp(-(((hourOfDay - 11) / 2.5) ** 2)) + 0.7 * Math.exp(-(((hourOfDay - 20) / 2) ** 2))
          const expected = size * rhythm * (isWeekend(at) ? 1.4 : 1) * (1 + (growth * index) / length)
          return random.poisson(expected * random.logNormal(1, 0.15))
        },
        anomalies: [manyTimes, surge, outage, reversed, climb],
      }
    },
  },
  {
    name: 'queue',
    intervalsMs: quickIntervals,
    make: (random) => {
      const load = random.between(0.6, 0.9)
      let waiting = 0
      return {
        next: () => {
          waiting = Math.max(0, waiting + random.poisson(5 * load) - random.poisson(5))
          return waiting
        },
        anomalies: [surge, manyTimes, climb],
      }
    },
  },
  {
    name: 'disk that is tidied',
    intervalsMs: [minute, 5 * minute, hour],
    make: (random) => {
      const tidiedAt = random.between(70, 95)
      let used = 20
      return {
        next: () => {
          used += Math.max(0, 0.3 + 0.2 * random.normal())
          if (used > tidiedAt) used = random.between(18, 24)
          return used
        },
        anomalies: [spike, levelShift, drift],
      }
    },
  },
  {
    name: 'returns of a market',
    intervalsMs: [minute, hour, day],
    make: (random) => {
      let variance = 1
      return {
        next: () => {
          const value = Math.sqrt(variance) * random.normal()
          variance = 0.03 + 0.9 * variance + 0.07 * value * value
          return value
        },
        anomalies: [spike, dip, noisier, surge],
      }
    },
  },
  {
    name: 'rounded sensor',
    intervalsMs: [...quickIntervals, hour],
    make: (random) => {
      const phase = random.uniform()
      return {
        next: (at) => Math.round(21 + 1.5 * Math.sin(2 * Math.PI * (at / day + phase)) + 0.3 * random.normal()),
        anomalies: [spike, dip, levelShift, drift],
      }
    },
  },
  {
    name: 'spending of an agent',
    intervalsMs: [minute, 5 * minute],
    make: (random) => {
      const [price, idle] = [random.logBetween(0.001, 0.1), random.between(0.3, 0.9)]
      let task = 0
      return {
        next: (at) => {
          const awake = 0.2 + 0.8 * (0.5 + 0.5 * Math.sin((2 * Math.PI * at) / day)) ** 2
          if (task <= 0 && random.chance((1 - idle) * 0.2 * awake)) task = random.integer(2, 20)
          task--
          const calls = task > 0 ? random.poisson(6) : 0
          let spent = 0
          for (let call = 0; call < calls; call++) spent += random.logNormal(price, 0.4)
          return spent
        },
        anomalies: [manyTimes, climb, surge, spike],
      }
    },
  },
  {
    name: 'two modes',
    intervalsMs: quickIntervals,
    make: (random) => {
      const [stay, apart] = [random.between(0.95, 0.995), random.between(4, 12)]
      let high = false
      return {
        next: () => {
          if (!random.chance(stay)) high = !high
          return (high ? apart : 0) + random.normal()
        },
        anomalies: [spike, surge, dip, noisier],
      }
    },
  },
]
