import { expect, test } from 'vitest'
import { sparkline } from './sparkline.ts'

test('a climb is drawn as one, and nothing as nothing', () => {
  expect(sparkline([0, 1, 2, 4, 8])).toBe(' ▁▂▄█')
  expect(sparkline([0, 0])).toBe('  ')
  expect(sparkline([])).toBe('')
})
