import { type Address, concatHex, encodePacked, type Hex } from 'viem'
import { BaseError } from '../errors.ts'
import { assertAmount, maxUint96, maxUint128 } from '../money.ts'
import { toCompactSignature } from '../voucher/signature.ts'

/** What settlement presents for one payee: settle up to `amount`, which the voucher covers. */
export type Claim = {
  payee: Address
  /** Cumulative, base units, uint96; at most `cumulativeAmount`. */
  amount: bigint
  cumulativeAmount: bigint
  /** 65 bytes, of the voucher. */
  signature: Hex
  proof: readonly Hex[]
}

/** Claims of one call: more make another call. The bound keeps the gas of a settlement well inside a block. */
export const maxClaims = 64
const maxProofLength = 32

/** Call data of `settle`'s `claims` (layout: docs/architecture.md, contracts/src/libraries/Claims.sol). @throws InvalidClaimError */
export function packClaims(claims: readonly Claim[]): Hex {
  if (claims.length === 0 || claims.length > maxClaims) {
    throw new InvalidClaimError(`A settlement has 1 to ${maxClaims} claims, not ${claims.length}.`)
  }
  return concatHex(claims.map(packClaim))
}

function packClaim({ payee, amount, cumulativeAmount, signature, proof }: Claim): Hex {
  assertAmount(amount, maxUint96)
  assertAmount(cumulativeAmount, maxUint128)
  if (amount > cumulativeAmount)
    throw new InvalidClaimError(`The amount ${amount} is above the voucher's ${cumulativeAmount}.`)
  if (proof.length > maxProofLength)
    throw new InvalidClaimError(`The proof has ${proof.length} elements, above ${maxProofLength}.`)
  return concatHex([
    encodePacked(
      ['address', 'uint96', 'uint128', 'bytes', 'uint8'],
      [payee, amount, cumulativeAmount, toCompactSignature(signature), proof.length],
    ),
    ...proof,
  ])
}

export class InvalidClaimError extends BaseError {
  override readonly code = 'claim.invalid'
  constructor(reason: string) {
    super('The claim is not valid.', { metaMessages: [reason], docsPath: '/errors#claim-invalid' })
  }
}
