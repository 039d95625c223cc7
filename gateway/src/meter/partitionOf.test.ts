import { expect, test } from 'vitest'
import { partitionCount } from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { randomAddress } from './testing/builders.ts'

test('an account keeps its partition: stored keys depend on it', () => {
  expect(partitionOf('0x0000000000000000000000000000000000000000')).toBe(partitionOf(`0x${'0'.repeat(40)}`))
  expect(partitionOf('0x5FbDB2315678afecb367f032d93F642f64180aa3')).toBe(13)
  expect(partitionOf('0x5fbdb2315678afecb367f032d93f642f64180aa3')).toBe(13)
  expect(partitionOf('0x70997970C51812dc3A010C7d01b50e0d17dc79C8')).toBe(5)
})

test('accounts spread over all partitions', () => {
  const counts = Array.from({ length: partitionCount }, () => 0)
  for (let index = 0; index < 1_600; index += 1) {
    const partition = partitionOf(randomAddress())
    counts[partition] = (counts[partition] ?? 0) + 1
  }
  for (const count of counts) expect(count).toBeGreaterThan(40)
})
