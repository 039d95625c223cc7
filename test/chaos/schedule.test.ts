import fc from 'fast-check'
import { expect, test } from 'vitest'
import { kindOf } from './describeFault.ts'
import { allCrashPoints } from './fault.ts'
import { partsOf } from './partsOf.ts'
import { createSchedule } from './schedule.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })

test('one seed is one schedule, another seed another', () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const schedule = createSchedule({ seed, faults: 200 })
      expect(createSchedule({ seed, faults: 200 })).toEqual(schedule)
      expect(createSchedule({ seed: seed + 1, faults: 200 })).not.toEqual(schedule)
    }),
    { numRuns: 20 },
  )
})

test('every long schedule has every crash point, depth of a reorganisation and kind of fault', () => {
  const kinds = new Set(createSchedule({ seed: 1, faults: 2_000 }).map(kindOf))
  fc.assert(
    fc.property(seeds, (seed) => {
      const schedule = createSchedule({ seed, faults: 200 })
      expect(schedule).toHaveLength(200)
      const points = schedule.flatMap((fault) => (fault.kind === 'crash' ? [fault.point] : []))
      expect(new Set(points)).toEqual(new Set(allCrashPoints))
      const reorganised = schedule.flatMap((fault) =>
        fault.kind === 'reorganisation' ? [`${fault.depth} ${fault.transactions}`] : [],
      )
      expect(new Set(reorganised).size).toBe(10)
      const missing = [...kinds].filter((kind) => !schedule.some((fault) => kindOf(fault) === kind))
      // The few that only the dice bring.
      expect(missing.filter((kind) => !kind.startsWith('pause '))).toEqual([])
    }),
    { numRuns: 50 },
  )
})

test('a short schedule begins with the crash points', () => {
  const schedule = createSchedule({ seed: 7, faults: allCrashPoints.length })
  expect(new Set(schedule.map(kindOf))).toEqual(new Set(allCrashPoints.map((point) => `crash at ${point}`)))
})

test('indices number the faults, so that a part of a schedule can be run again', () => {
  expect(createSchedule({ seed: 3, faults: 150 }).map(({ index }) => index)).toEqual(Array.from(Array(150).keys()))
})

test('while Redis forgets, no gateway dies and Postgres stays', () => {
  for (const fault of createSchedule({ seed: 1, faults: 500 })) {
    const forgets = fault.kind === 'redis-flush' || fault.kind === 'redis-restart'
    if (forgets) expect(partsOf(fault)).toEqual(expect.arrayContaining(['redis', 'postgres', 'gateway-1', 'gateway-2']))
    expect(partsOf(fault).length).toBeGreaterThan(0)
  }
})
