import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import { getAddress, numberToHex, slice } from 'viem'

/** A nonce's key in two parts, as OpenZeppelin's, Safe7579's and the reference account read it. */
export type NonceParts = {
  /** Zero: the account's owner. */
  validator: Address
  /** 0 to 2^32 - 1. A lane that was never used costs 17,000 gas more the first time. */
  lane: number
  /** Counts within the lane. */
  sequence: bigint
}

/** `validator (20 bytes) ++ lane (4 bytes)`. @throws InvalidLaneError */
export function toNonceKey(validator: Address, lane: number): bigint {
  if (!Number.isInteger(lane) || lane < 0 || lane > 0xffffffff) throw new InvalidLaneError(lane)
  return (BigInt(validator) << 32n) | BigInt(lane)
}

/** The parts of a UserOperation's nonce: `validator (20) ++ lane (4) ++ sequence (8)`. */
export function fromNonce(nonce: bigint): NonceParts {
  const bytes = numberToHex(nonce, { size: 32 })
  return {
    validator: getAddress(slice(bytes, 0, 20)),
    lane: Number((nonce >> 64n) & 0xffffffffn),
    sequence: nonce & 0xffffffffffffffffn,
  }
}

export class InvalidLaneError extends BaseError {
  override readonly code = 'nonce.invalid_lane'
  constructor(lane: number) {
    super('The lane of a nonce key is not valid.', {
      metaMessages: [`Lane: ${lane}`, 'It is a whole number from 0 to 4294967295.'],
      docsPath: '/errors#nonce-invalid-lane',
    })
  }
}
