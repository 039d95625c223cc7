import { type Address, type GrantTerms, type Hex, maxClaims, unpackTerms } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionData, encodeFunctionData, getAddress, hexToBigInt, hexToNumber, size, slice } from 'viem'
import { decodeExecute } from './decodeExecute.ts'

export type DecodedClaim = {
  payee: Address
  /** Cumulative, base units. */
  amount: bigint
  cumulativeAmount: bigint
}

export type DecodedSettle = {
  module: Address
  account: Address
  packedTerms: Hex
  terms: GrantTerms
  claims: DecodedClaim[]
}

/** Inverse of `encodeSettle`; undefined when the call data is not exactly a settlement as the module accepts it. */
export function decodeSettle(callData: Hex): DecodedSettle | undefined {
  const execution = decodeExecute(callData)
  const [call] = execution?.calls ?? []
  if (execution?.mode !== 'single' || !call || call.value !== 0n) return undefined
  try {
    const decoded = decodeFunctionData({ abi: sessionKeyValidatorAbi, data: call.data })
    if (decoded.functionName !== 'settle') return undefined
    const [account, packedTerms, packedClaims] = decoded.args
    if (encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'settle', args: decoded.args }) !== call.data) {
      return undefined
    }
    const claims = decodeClaims(packedClaims)
    return claims && { module: call.to, account, packedTerms, terms: unpackTerms(packedTerms), claims }
  } catch {
    return undefined
  }
}

const headSize = 113
const maxProofLength = 32

/** The rules of contracts/src/libraries/Claims.sol: a claim without a proof stands alone. */
function decodeClaims(packed: Hex): DecodedClaim[] | undefined {
  const claims: DecodedClaim[] = []
  const total = size(packed)
  let offset = 0
  while (offset < total) {
    if (claims.length === maxClaims || total - offset < headSize) return undefined
    const proofLength = hexToNumber(slice(packed, offset + headSize - 1, offset + headSize))
    const end = offset + headSize + 32 * proofLength
    if (proofLength > maxProofLength || end > total || (proofLength === 0 && end - offset !== total)) return undefined
    claims.push({
      payee: getAddress(slice(packed, offset, offset + 20)),
      amount: hexToBigInt(slice(packed, offset + 20, offset + 32)),
      cumulativeAmount: hexToBigInt(slice(packed, offset + 32, offset + 48)),
    })
    offset = end
  }
  return claims.length > 0 ? claims : undefined
}
