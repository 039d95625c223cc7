import { hexToNumber, size, slice } from 'viem'
import type { UserOperation } from './userOperation.ts'

/**
 * Until when our paymaster's sponsorship of an operation is valid, unix seconds: the first six bytes of `paymasterData`
 * (`validUntil (6) | validAfter (6) | signature (64)`). Undefined for another paymaster's.
 */
export function sponsoredUntil({ paymasterData }: Pick<UserOperation, 'paymasterData'>): number | undefined {
  if (paymasterData === undefined || size(paymasterData) !== 76) return undefined
  return hexToNumber(slice(paymasterData, 0, 6))
}
