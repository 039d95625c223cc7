import type { Address } from '@protocolbanks/stream-protocol'
import { partitionCount } from './meter.ts'

/**
 * The partition (0 to 15) that holds an account, its grants and their usage: FNV-1a of the lower-case address, mod 16.
 * Stored keys depend on it, so it never changes.
 */
export function partitionOf(account: Address): number {
  let hash = 0x811c9dc5
  for (const character of account.toLowerCase()) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193)
  }
  // The low bits of FNV-1a are its weakest: fold the high half in.
  return ((hash >>> 16) ^ hash) & (partitionCount - 1)
}
