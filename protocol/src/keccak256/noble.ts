import { keccak_256 } from '@noble/hashes/sha3'
import type { Keccak256 } from './keccak256.ts'

/** Pure JavaScript, for browsers. */
export const keccak256: Keccak256 = (bytes) => keccak_256(bytes)
