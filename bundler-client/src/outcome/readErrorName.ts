import type { Hex } from '@protocolbanks/stream-protocol'
import { type Abi, size, slice, toFunctionSelector } from 'viem'
import { formatAbiItem } from 'viem/utils'

/** Name of a custom error, from its selector or whole revert data. What is unknown stays as it is: its selector. */
export function readErrorName(abi: Abi, data: Hex | undefined): string {
  if (data === undefined || size(data) < 4) return 'reverted without data'
  const selector = slice(data, 0, 4)
  for (const item of abi) {
    if (item.type === 'error' && toFunctionSelector(formatAbiItem(item)) === selector) return item.name
  }
  // Solidity's own: Error(string), Panic(uint256).
  if (selector === '0x08c379a0') return 'Error'
  if (selector === '0x4e487b71') return 'Panic'
  return selector
}
