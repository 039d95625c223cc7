import { type Address, encodePacked, getAddress, type Hex, hexToBigInt, hexToNumber, size, slice } from 'viem'
import { BaseError } from '../errors.ts'
import { assertAmount, maxUint96 } from '../money.ts'

/** Where the money of a grant comes from: credit within the allowance, or a guaranteed prepaid reserve. */
export const grantSources = ['allowance', 'reserve'] as const
export type GrantSource = (typeof grantSources)[number]

/** What the owner allows one session key. Never changes: other terms are another grant. */
export type GrantTerms = {
  sessionKey: Address
  /** May sign the UserOperations that settle. */
  settler: Address
  token: Address
  /** Base units, uint96, above zero. */
  totalLimit: bigint
  /** Base units, uint96; 0n is no limit. */
  periodLimit: bigint
  /** Seconds; 0 if and only if `periodLimit` is 0n. */
  period: number
  /** Unix seconds, inclusive. */
  validAfter: number
  /** Unix seconds, inclusive, below 2^47. */
  validUntil: number
  /** See payees.ts. */
  payeeRoot: Hex
  source: GrantSource
  /** 24 bytes that tell equal terms apart. */
  salt: Hex
}

export const packedTermsSize = 157

const layout = [
  'address',
  'address',
  'address',
  'uint96',
  'uint96',
  'uint32',
  'uint48',
  'uint48',
  'bytes32',
  'uint8',
  'bytes24',
] as const

/**
 * The 157 bytes whose hash is the grant's id (layout: docs/architecture.md, contracts/src/libraries/GrantTerms.sol).
 *
 * @throws InvalidTermsError, InvalidAmountError
 */
export function packTerms(terms: GrantTerms): Hex {
  assertTerms(terms)
  return encodePacked(layout, [
    terms.sessionKey,
    terms.settler,
    terms.token,
    terms.totalLimit,
    terms.periodLimit,
    terms.period,
    terms.validAfter,
    terms.validUntil,
    terms.payeeRoot,
    grantSources.indexOf(terms.source),
    terms.salt,
  ])
}

/** The inverse of `packTerms`. @throws InvalidTermsError */
export function unpackTerms(packed: Hex): GrantTerms {
  if (size(packed) !== packedTermsSize)
    throw new InvalidTermsError(`Packed terms are ${packedTermsSize} bytes, not ${size(packed)}.`)
  const source = grantSources[hexToNumber(slice(packed, 132, 133))]
  if (source === undefined) throw new InvalidTermsError('The source is neither allowance (0) nor reserve (1).')
  return {
    sessionKey: getAddress(slice(packed, 0, 20)),
    settler: getAddress(slice(packed, 20, 40)),
    token: getAddress(slice(packed, 40, 60)),
    totalLimit: hexToBigInt(slice(packed, 60, 72)),
    periodLimit: hexToBigInt(slice(packed, 72, 84)),
    period: hexToNumber(slice(packed, 84, 88)),
    validAfter: hexToNumber(slice(packed, 88, 94)),
    validUntil: hexToNumber(slice(packed, 94, 100)),
    payeeRoot: slice(packed, 100, 132),
    source,
    salt: slice(packed, 133, 157),
  }
}

/** The struct as the module's `grant(Terms)` takes it. */
export function toContractTerms(terms: GrantTerms) {
  assertTerms(terms)
  return { ...terms, source: grantSources.indexOf(terms.source) }
}

function assertTerms(terms: GrantTerms): void {
  assertAmount(terms.totalLimit, maxUint96)
  assertAmount(terms.periodLimit, maxUint96)
  if (terms.totalLimit === 0n) throw new InvalidTermsError('The total limit is zero.')
  if ((terms.period === 0) !== (terms.periodLimit === 0n)) {
    throw new InvalidTermsError(
      `A period (${terms.period} s) and its limit (${terms.periodLimit}) come together or not at all.`,
    )
  }
  assertInteger('period', terms.period, 2 ** 32 - 1)
  assertInteger('validAfter', terms.validAfter, 2 ** 47 - 1)
  assertInteger('validUntil', terms.validUntil, 2 ** 47 - 1)
  if (terms.validAfter > terms.validUntil) {
    throw new InvalidTermsError(`validAfter (${terms.validAfter}) is later than validUntil (${terms.validUntil}).`)
  }
}

function assertInteger(name: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new InvalidTermsError(`${name} is ${value}; it must be a whole number from 0 to ${max}.`)
  }
}

export class InvalidTermsError extends BaseError {
  override readonly code = 'terms.invalid'
  constructor(reason: string) {
    super('The terms of the grant are not valid.', { metaMessages: [reason], docsPath: '/errors#terms-invalid' })
  }
}
