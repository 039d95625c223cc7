import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatAmount, InvalidAmountError, maxUint96, parseAmount } from './money.ts'

test('formatting and parsing an amount gives it back, for every token precision', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, maxUint96), fc.integer({ min: 0, max: 36 }), (amount, decimals) => {
      expect(parseAmount(formatAmount(amount, decimals), decimals)).toBe(amount)
    }),
  )
})

test.each([
  '-1',
  '1e3',
  '0x10',
  ' 1',
  '1.',
  '.5',
  '',
  '1,5',
  '0.0000001',
  '9'.repeat(40),
  '340282366920938463463374607431768.211456',
])('refuses %j as an amount of a token with 6 decimals', (text) => {
  expect(() => parseAmount(text, 6)).toThrow(InvalidAmountError)
})

test('writes no trailing zeros and keeps the sign of a difference', () => {
  expect(formatAmount(10_000n, 6)).toBe('0.01')
  expect(formatAmount(12_000_000n, 6)).toBe('12')
  expect(formatAmount(-1n, 6)).toBe('-0.000001')
})
