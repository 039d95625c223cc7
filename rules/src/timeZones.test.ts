import { expect, test } from 'vitest'
import { isTimeZone, timeIn, utcTime } from './timeZones.ts'

test('the hour and the weekday follow the clocks of a zone, summer time included', () => {
  // The clocks of Berlin went from 02:00 to 03:00 on Sunday, 29 March 2026, at 01:00 UTC.
  expect(timeIn('Europe/Berlin', Date.UTC(2026, 2, 29, 0, 59))).toEqual({ hour: 1, weekday: 7 })
  expect(timeIn('Europe/Berlin', Date.UTC(2026, 2, 29, 1, 0))).toEqual({ hour: 3, weekday: 7 })
  expect(timeIn('Asia/Kathmandu', Date.UTC(2026, 0, 4, 18, 14))).toEqual({ hour: 23, weekday: 7 })
  expect(timeIn('Asia/Kathmandu', Date.UTC(2026, 0, 4, 18, 15))).toEqual({ hour: 0, weekday: 1 })
})

test('weekdays begin with Monday in UTC too', () => {
  expect(utcTime(Date.UTC(2026, 0, 5, 23, 59))).toEqual({ hour: 23, weekday: 1 })
  expect(utcTime(Date.UTC(2026, 0, 4))).toEqual({ hour: 0, weekday: 7 })
})

test('only names of the IANA database are time zones', () => {
  expect(['Europe/Berlin', 'UTC', 'America/Argentina/Buenos_Aires'].map(isTimeZone)).toEqual([true, true, true])
  expect(['', '+01:00', 'Mars/Phobos', 'Europe/../Berlin', 'a'.repeat(500)].some(isTimeZone)).toBe(false)
})
