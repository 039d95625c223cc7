import { expect, test } from 'vitest'
import { parseTimestamp } from './parseTimestamp.ts'

const expected = Date.UTC(2014, 3, 1, 0, 5)

test.each([
  '2014-04-01 00:05:00',
  '2014-04-01T00:05:00Z',
  '2014-04-01T02:05:00+02:00',
  '2014-04-01 00:05:00.000',
  '4/1/2014 0:05',
  '2014/04/01 00:05:00',
  `${expected / 1_000}`,
  `${expected}`,
  `${expected}000`,
  `${expected}000000`,
])('%s is that moment, in UTC', (text) => {
  expect(parseTimestamp(text)).toBe(expected)
})

test('a date alone is its midnight', () => {
  expect(parseTimestamp('2014-04-01')).toBe(Date.UTC(2014, 3, 1))
})

test.each(['', 'yesterday', '2014-13-01 00:00:00', '13/13/2014 0:05'])('"%s" is no time', (text) => {
  expect(parseTimestamp(text)).toBeUndefined()
})
