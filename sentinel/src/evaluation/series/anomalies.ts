import type { Random } from '../../simulation/createRandom.ts'
import type { Anomaly, Scale } from './seriesKind.ts'

const change = (name: string, length: (random: Random, scale: Scale) => number, value: Change): Anomaly => ({
  name,
  apply(values, first, random, scale) {
    const last = Math.min(values.length, first + Math.max(1, Math.round(length(random, scale))))
    const strength = random.between(1, 2)
    const before = values.slice(Math.max(0, first - 20), first)
    const level = before.reduce((sum, one) => sum + one, 0) / Math.max(1, before.length)
    for (let index = first; index < last; index++) {
      const share = (index - first + 1) / (last - first)
      values[index] = value({ value: values[index] ?? 0, share, strength, level, scale, random, values, index })
    }
    return last - first
  },
})
type Change = (at: {
  value: number
  share: number
  strength: number
  level: number
  scale: Scale
  random: Random
  values: readonly number[]
  index: number
}) => number

const few = (random: Random) => random.integer(1, 4)
const tens = (random: Random) => random.integer(20, 60)
const rest = () => Number.MAX_SAFE_INTEGER
const oneDay = (_: Random, scale: Scale) => Math.min(Math.max(scale.pointsPerDay, 10), 300)

export const spike = change('spike', few, ({ value, strength, scale }) => value + 1.2 * strength * scale.spread)
export const dip = change('dip', few, ({ value, strength, scale }) => value - 1.2 * strength * scale.spread)
export const surge = change('surge', tens, ({ value, strength, scale }) => value + strength * scale.spread)
export const levelShift = change(
  'level shift',
  rest,
  ({ value, strength, scale }) => value + 0.8 * strength * scale.spread,
)
export const drift = change(
  'drift',
  tens,
  ({ value, share, strength, scale }) => value + 1.5 * share * strength * scale.spread,
)
export const noisier = change(
  'noisier',
  tens,
  ({ value, strength, scale, random }) => value + random.normal() * 0.7 * strength * scale.spread,
)
export const flat = change('flat line', tens, ({ level }) => level)
export const flatDay = change('flat day', oneDay, ({ level }) => level)
export const climb = change(
  'climb',
  tens,
  ({ value, share, strength, scale }) => value + (Math.expm1(share * 3) / 19) * 3 * strength * scale.spread,
)
export const denser = change('denser bursts', tens, ({ value, scale, random }) =>
  random.chance(0.6) ? Math.max(value, scale.upper * random.between(0.6, 1.1)) : value,
)
export const manyTimes = change('many times more', tens, ({ value, strength, scale, random }) =>
  Math.round((value + scale.upper * random.between(0.5, 1.5)) * strength),
)
export const outage = change('outage', tens, () => 0)
export const reversed = change(
  'day and night swapped',
  oneDay,
  ({ values, index, scale, value }) => values[index - Math.floor(Math.min(scale.pointsPerDay, 600) / 2)] ?? value,
)
export const slide = change(
  'slow slide',
  (random) => random.integer(150, 300),
  ({ value, share, strength, scale }) => value - share * strength * scale.spread,
)
export const extraPeak = change(
  'peak at the wrong time',
  (random) => random.integer(3, 8),
  ({ scale, level }) => level + 0.9 * scale.spread,
)
