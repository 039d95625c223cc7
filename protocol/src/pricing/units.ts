/** Name of the header by which an API says how many units an answer cost: `2` or `2.5`. It does not reach the client. */
export const paymentUnitsHeader = 'payment-units'

/**
 * A number of units, at most 12 digits before the point and 6 after it, in millionths; undefined when it is none.
 *
 * @example parseUnits('2.5') // 2_500_000n
 */
export function parseUnits(text: string): bigint | undefined {
  const match = /^(\d{1,12})(?:\.(\d{1,6}))?$/.exec(text.trim())
  return match ? BigInt(`${match[1]}${(match[2] ?? '').padEnd(6, '0')}`) : undefined
}
