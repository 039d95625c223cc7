import { expect, test } from 'vitest'
import { createSeasonalProfile, dayCycle, learnProfile, profileAt, weekCycle } from './seasonalProfile.ts'

const hourMs = 3_600_000
const mondayMs = Date.UTC(2026, 0, 5)

test('a time of day is known after as many days as were asked for', () => {
  const profile = createSeasonalProfile(dayCycle)
  for (let hours = 0; hours < 72; hours += 0.25) {
    const atMs = mondayMs + hours * hourMs
    if (hours === 47) expect(profileAt(profile, dayCycle, atMs, 3)).toBeUndefined()
    learnProfile(profile, dayCycle, atMs, (hours % 24) * 10)
  }
  // The middle of the half hour from 12:00.
  expect(profileAt(profile, dayCycle, mondayMs + 84.25 * hourMs, 3)).toBeCloseTo(121.25, 1)
})

test('between the middles of two parts the mean is interpolated', () => {
  const profile = createSeasonalProfile(dayCycle)
  learnProfile(profile, dayCycle, mondayMs, 0)
  learnProfile(profile, dayCycle, mondayMs + 0.5 * hourMs, 10)
  expect(profileAt(profile, dayCycle, mondayMs + 0.5 * hourMs, 1)).toBeCloseTo(5, 9)
})

test('the week ends where it begins, before 1970 too', () => {
  const profile = createSeasonalProfile(weekCycle)
  for (const atMs of [-1, -7 * 24 * hourMs - 1]) learnProfile(profile, weekCycle, atMs, 3)
  expect(profileAt(profile, weekCycle, 7 * 24 * hourMs - 0.5 * hourMs, 1)).toBeCloseTo(3, 9)
})

test('many values of one visit weigh as much as one value of an earlier visit', () => {
  const profile = createSeasonalProfile(dayCycle)
  learnProfile(profile, dayCycle, mondayMs, 0)
  for (let index = 0; index < 1_000; index++) learnProfile(profile, dayCycle, mondayMs + 24 * hourMs + index, 10)
  expect(profileAt(profile, dayCycle, mondayMs + 0.25 * hourMs, 1)).toBeCloseTo(5, 0)
})
