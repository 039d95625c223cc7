import { zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { examples } from '../testing/examples.ts'
import { fromNonce, InvalidLaneError, toNonceKey } from './nonceKey.ts'

test('a nonce has the validator in its first 20 bytes, then the lane, then the sequence', () => {
  const key = toNonceKey(examples.module, 7)
  expect(key).toBe((BigInt(examples.module) << 32n) + 7n)
  expect(fromNonce((key << 64n) + 3n)).toEqual({ validator: examples.module, lane: 7, sequence: 3n })
})

test("the owner's first nonce is zero", () => {
  expect(toNonceKey(zeroAddress, 0)).toBe(0n)
})

test.each([-1, 1.5, 2 ** 32, Number.NaN])('lane %d is refused', (lane) => {
  expect(() => toNonceKey(zeroAddress, lane)).toThrow(InvalidLaneError)
})
