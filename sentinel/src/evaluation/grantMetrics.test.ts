import { expect, test } from 'vitest'
import { tuningSeeds } from '../simulation/seeds.ts'
import { measureGrants, type WatchedMethod } from './grantMetrics.ts'
import { chosenMethods } from './watchedMethods.ts'

// Tuning seeds: the held-out ones are for the evaluation alone.
const sample = {
  trafficSeed: tuningSeeds.traffic,
  grantsPerKind: 2,
  attackSeed: tuningSeeds.attacks,
  attacksPerPair: 1,
}

test('a method that always alarms freezes everything, and one that never does catches nothing', () => {
  const always: WatchedMethod = { name: 'always', watch: () => () => true }
  const never: WatchedMethod = { name: 'never', watch: () => () => false }
  const [all, none] = measureGrants([always, never], sample)
  expect(all).toMatchObject({ falseFreezeShare: 1, recall: 1, normalGrants: 12, attacks: 30 })
  expect(all?.detectSeconds).toEqual({ median: 0, p95: 0 })
  expect(none).toMatchObject({
    falseFreezeShare: 0,
    recall: 0,
    lostShare: 1,
    detectSeconds: { median: null, p95: null },
  })
})

test('the chosen method stops a climb, small calls and a huge call on every kind of traffic, and freezes nobody', () => {
  const chosen = measureGrants(chosenMethods, sample).find(({ method }) => method === 'rules and scoring')
  expect(chosen?.falseFreezeShare).toBe(0)
  for (const attack of ['vertical climb', 'many small calls', 'one huge call'] as const) {
    expect(chosen?.byAttack[attack].caught).toBe(6)
  }
})
