import type { Hex } from '@protocolbanks/stream-protocol'

/**
 * 65 bytes r, s, v that recover to an address nobody has the key of: estimation runs the whole check, and fails it the
 * way the EntryPoint expects (SIG_VALIDATION_FAILED), not with a revert. r is the x coordinate of a point on the curve,
 * s is low.
 */
export const dummySignature: Hex =
  '0xfffffffffffffffffffffffffffffff0000000000000000000000000000000007aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1c'
