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
  /**
   * Merkle proof of the payee; empty for a grant to a single payee. `'known'`: the grant has several payees and has paid
   * this one before, which the chain remembers. Where it has not (any more, after a reorganisation), the claim is skipped
   * with `InvalidProof`.
   */
  proof: readonly Hex[] | 'known'
}

/** Claims of one call: more make another call. The bound keeps the gas of a settlement well inside a block. */
export const maxClaims = 64
/** Elements of a proof: enough for four billion payees. */
export const maxProofLength = 32
/** In the place of a proof's length: the payee is known, no proof follows. */
export const knownPayee = 0xff

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
  const elements = proof === 'known' ? [] : proof
  if (elements.length > maxProofLength)
    throw new InvalidClaimError(`The proof has ${elements.length} elements, above ${maxProofLength}.`)
  return concatHex([
    encodePacked(
      ['address', 'uint96', 'uint128', 'bytes', 'uint8'],
      [
        payee,
        amount,
        cumulativeAmount,
        toCompactSignature(signature),
        proof === 'known' ? knownPayee : elements.length,
      ],
    ),
    ...elements,
  ])
}

export class InvalidClaimError extends BaseError {
  override readonly code = 'claim.invalid'
  constructor(reason: string) {
    super('The claim is not valid.', { metaMessages: [reason], docsPath: '/errors#claim-invalid' })
  }
}
