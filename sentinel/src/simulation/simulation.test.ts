import { describe, expect, test } from 'vitest'
import { attackKinds, simulateAttack } from './attacks.ts'
import { createRandom } from './createRandom.ts'
import { heldOutSeeds, seedsFrom, tuningSeeds } from './seeds.ts'
import { simulatedDays, simulateTraffic, trafficKinds } from './traffic.ts'

const dayMs = 24 * 3_600_000

describe('randomness', () => {
  test('is the seed alone', () => {
    const draw = (seed: number) => {
      const random = createRandom(seed)
      return [random.uniform(), random.normal(), random.poisson(3), random.integer(1, 6), random.exponential(2)]
    }
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
  })

  test('has the means it promises', () => {
    const random = createRandom(1)
    const mean = (draw: () => number) =>
      Array.from({ length: 20_000 }, draw).reduce((sum, one) => sum + one, 0) / 20_000
    expect(mean(() => random.exponential(4))).toBeCloseTo(4, 0)
    expect(mean(() => random.poisson(2.5))).toBeCloseTo(2.5, 1)
    expect(mean(() => random.poisson(80))).toBeCloseTo(80, 0)
    expect(mean(() => random.normal())).toBeCloseTo(0, 1)
    expect(mean(() => random.integer(1, 3))).toBeCloseTo(2, 1)
  })
})

describe.each(trafficKinds)('traffic: %s', (kind) => {
  const traffic = simulateTraffic(kind, 42)

  test('is the same again', () => {
    expect(simulateTraffic(kind, 42).events).toEqual(traffic.events)
  })

  test('is in the order of its time, within its two weeks, and costs money', () => {
    expect(traffic.events.length).toBeGreaterThan(200)
    traffic.events.forEach(({ atMs, amountAtomic }, index) => {
      expect(atMs).toBeGreaterThanOrEqual(traffic.events[index - 1]?.atMs ?? traffic.startMs)
      expect(amountAtomic).toBeGreaterThan(0n)
    })
    expect(traffic.events.at(-1)?.atMs).toBeLessThanOrEqual(traffic.startMs + simulatedDays * dayMs)
  })
})

describe.each(attackKinds)('attack: %s', (attack) => {
  const attacked = simulateAttack(attack, 'diurnal', 42)

  test('is labelled, begins after three days, and ends with its last call', () => {
    expect(attacked.hostile).toHaveLength(attacked.events.length)
    const first = attacked.hostile.indexOf(true)
    expect(attacked.events[first]?.atMs).toBe(attacked.beganMs)
    expect(attacked.beganMs - attacked.traffic.startMs).toBeGreaterThanOrEqual(3 * dayMs)
    expect(attacked.hostile.at(-1)).toBe(true)
  })

  test('leaves what the agent does as it was', () => {
    const own = attacked.events.filter((_, index) => !attacked.hostile[index])
    expect(attacked.traffic.events.slice(0, own.length)).toEqual(own)
  })
})

test('no held-out seed is a tuning seed', () => {
  const tuned = new Set(Object.values(tuningSeeds).flatMap((first) => seedsFrom(first, 10_000)))
  for (const seed of Object.values(heldOutSeeds).flatMap((first) => seedsFrom(first, 200_000))) {
    if (tuned.has(seed)) throw new Error(`seed ${seed} is for tuning and held out`)
  }
})
