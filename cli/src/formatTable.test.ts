import { expect, test } from 'vitest'
import { formatFields, formatTable } from './formatTable.ts'

test('columns are as wide as they must be, and what is missing is a dash', () => {
  const table = formatTable(['id', 'state'], [['stl_1', 'dead'], ['x', null], ['y']])
  expect(table).toBe('id     state\nstl_1  dead\nx      -\ny      -')
  expect(
    formatFields([
      ['a', '1'],
      ['long', null],
    ]),
  ).toBe('a     1\nlong  -')
})

test('what others wrote cannot steer the terminal or break a line', () => {
  const text = formatTable(['note'], [['\u001b[2Jgone\r\nnext\u202e']])
  expect(text).toBe('note\n?[2Jgone next?')
})
