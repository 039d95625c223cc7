import { expect, test } from 'vitest'
import { createRandom } from './random.ts'

test('numbers lie within their bounds, reach both, and come equally often', () => {
  const random = createRandom(1)
  const counts = new Map<number, number>()
  for (let draw = 0; draw < 6_000; draw++) {
    const number = random.whole(1, 6)
    counts.set(number, (counts.get(number) ?? 0) + 1)
  }
  expect([...counts.keys()].toSorted()).toEqual([1, 2, 3, 4, 5, 6])
  for (const count of counts.values()) expect(Math.abs(count - 1_000)).toBeLessThan(150)
})

test('shuffling keeps every element', () => {
  const list = Array.from(Array(100).keys())
  const shuffled = createRandom(5).shuffle(list)
  expect(shuffled).not.toEqual(list)
  expect(shuffled.toSorted((left, right) => left - right)).toEqual(list)
})

test('there is nothing to pick from nothing', () => {
  expect(() => createRandom(1).pick([])).toThrow(RangeError)
})
