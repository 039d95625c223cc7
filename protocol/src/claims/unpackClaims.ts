import { type Address, getAddress, type Hex, hexToBigInt, hexToBytes, hexToNumber, size, slice } from 'viem'
import { joinSignature } from '../voucher/signature.ts'
import { type Claim, knownPayee, maxClaims, maxProofLength } from './packClaims.ts'

const headSize = 113

/**
 * Inverse of `packClaims`; undefined when the encoding is malformed by the rules of contracts/src/libraries/Claims.sol (a
 * claim with an empty proof stands alone), or has more than `maxClaims`.
 */
export function unpackClaims(packed: Hex): Claim[] | undefined {
  const claims: Claim[] = []
  const total = size(packed)
  let offset = 0
  while (offset < total) {
    if (claims.length === maxClaims || total - offset < headSize) return undefined
    const proofLength = hexToNumber(slice(packed, offset + headSize - 1, offset + headSize))
    const elements = proofLength === knownPayee ? 0 : proofLength
    const end = offset + headSize + 32 * elements
    if (elements > maxProofLength || end > total || (proofLength === 0 && end - offset !== total)) return undefined
    claims.push({
      payee: addressAt(packed, offset),
      amount: hexToBigInt(slice(packed, offset + 20, offset + 32)),
      cumulativeAmount: hexToBigInt(slice(packed, offset + 32, offset + 48)),
      signature: signatureAt(packed, offset + 48),
      proof: proofLength === knownPayee ? 'known' : proofAt(packed, offset + headSize, elements),
    })
    offset = end
  }
  return claims.length > 0 ? claims : undefined
}

function addressAt(packed: Hex, offset: number): Address {
  return getAddress(slice(packed, offset, offset + 20))
}

function signatureAt(packed: Hex, offset: number): Hex {
  const compact = hexToBytes(slice(packed, offset, offset + 64))
  const recovery = (compact[32] ?? 0) >> 7
  compact[32] = (compact[32] ?? 0) & 0x7f
  return joinSignature(compact, recovery)
}

function proofAt(packed: Hex, offset: number, elements: number): Hex[] {
  return Array.from({ length: elements }, (_, index) => slice(packed, offset + 32 * index, offset + 32 * (index + 1)))
}
