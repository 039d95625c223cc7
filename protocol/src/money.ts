import { BaseError } from './errors.ts'

/** Largest amount a grant can name (uint96), and largest a voucher can (uint128). Base units. */
export const maxUint96 = 2n ** 96n - 1n
export const maxUint128 = 2n ** 128n - 1n

/**
 * Decimal string to base units, exactly.
 *
 * @example parseAmount('0.01', 6) // 10000n
 * @throws InvalidAmountError when negative, not a plain decimal, or finer than the token.
 */
export function parseAmount(text: string, decimals: number): bigint {
  const match = /^(\d{1,39})(?:\.(\d{1,39}))?$/.exec(text)
  if (!match) throw new InvalidAmountError(text, 'Write it as a plain decimal, for example 0.01.')
  const [, whole = '', fraction = ''] = match
  if (fraction.length > decimals) throw new InvalidAmountError(text, `The token has ${decimals} decimals.`)
  const amount = BigInt(whole + fraction.padEnd(decimals, '0'))
  if (amount > maxUint128) throw new InvalidAmountError(text, 'It does not fit 128 bits.')
  return amount
}

/**
 * Base units to the shortest exact decimal string.
 *
 * @example formatAmount(10000n, 6) // '0.01'
 */
export function formatAmount(amountAtomic: bigint, decimals: number): string {
  const sign = amountAtomic < 0n ? '-' : ''
  const digits = (amountAtomic < 0n ? -amountAtomic : amountAtomic).toString().padStart(decimals + 1, '0')
  const whole = digits.slice(0, digits.length - decimals)
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, '')
  return fraction === '' ? `${sign}${whole}` : `${sign}${whole}.${fraction}`
}

/** @throws InvalidAmountError when outside 0 to `max`. */
export function assertAmount(amountAtomic: bigint, max: bigint): void {
  if (amountAtomic < 0n || amountAtomic > max) {
    throw new InvalidAmountError(amountAtomic.toString(), `It must be between 0 and ${max}.`)
  }
}

export class InvalidAmountError extends BaseError {
  override readonly code = 'amount.invalid'
  constructor(amount: string, hint: string) {
    super('The amount is not valid.', {
      metaMessages: [`Amount: ${amount.slice(0, 80)}`, hint],
      docsPath: '/errors#amount-invalid',
    })
  }
}
