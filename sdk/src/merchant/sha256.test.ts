import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { sha256 } from './sha256.ts'

test.each([0, 1, 64, 4_096, 4_097, 65_536])('%i bytes have the hash that everybody gives them', async (length) => {
  const bytes = Uint8Array.from({ length }, (_, index) => (index * 31) % 256)
  expect(await sha256(bytes)).toBe(createHash('sha256').update(bytes).digest('hex'))
})
