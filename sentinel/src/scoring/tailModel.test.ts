import { expect, test } from 'vitest'
import { createRandom } from '../simulation/createRandom.ts'
import { createTailModel, learnTail, type TailModel, type TailOptions, tailEvidence } from './tailModel.ts'

const options: TailOptions = { share: 0.02, leastScale: 0, doubt: 4 }

function learned(values: readonly number[]): TailModel {
  const tail = createTailModel()
  for (const value of values) learnTail(tail, value, options)
  return tail
}

const exponential = (seed: number, count: number) => {
  const random = createRandom(seed)
  return Array.from({ length: count }, () => random.exponential(1))
}

test('evidence is the improbability that the distribution of the values has', () => {
  // P(X >= x) = exp(-x): one in a million is x = 13.8. Of many series, because one may have had such values by chance.
  const tails = Array.from({ length: 25 }, (_, seed) => learned(exponential(seed, 1_500)))
  for (const digits of [3, 4, 5, 6]) {
    const evidence = tails.map((tail) => tailEvidence(tail, digits * Math.LN10, options)).sort((a, b) => a - b)
    expect(evidence[12]).toBeGreaterThan(digits - 1.5)
    expect(evidence[12]).toBeLessThan(digits + 1.5)
  }
})

test('what is in the bulk of the values is no evidence', () => {
  const tail = learned(exponential(2, 5_000))
  expect(tailEvidence(tail, 1, options)).toBe(0)
})

test('one outlier does not hide the next', () => {
  const tail = learned(exponential(3, 5_000))
  const before = tailEvidence(tail, 40, options)
  for (const value of [1_000, 1, 1]) learnTail(tail, value, options)
  expect(tailEvidence(tail, 40, options)).toBeGreaterThan(0.6 * before)
})

test('what goes on at this moment does not make itself look normal', () => {
  const tail = learned(exponential(4, 5_000))
  const before = tailEvidence(tail, 40, options)
  for (let index = 0; index < 50; index++) learnTail(tail, 40, options)
  expect(tailEvidence(tail, 40, options)).toBeGreaterThan(0.8 * before)
})

test('what came twice is familiar', () => {
  const tail = learned(exponential(5, 5_000))
  expect(tailEvidence(tail, 40, options)).toBeGreaterThan(8)
  for (const value of [40, 1, 1, 40, 1, 1]) learnTail(tail, value, options)
  expect(tailEvidence(tail, 40, options)).toBeLessThanOrEqual(3)
  expect(tailEvidence(tail, 100, options)).toBeGreaterThan(8)
})

test('a constant says nothing about itself', () => {
  const tail = learned(new Array<number>(1_000).fill(7))
  expect(tailEvidence(tail, 7, options)).toBe(0)
})
