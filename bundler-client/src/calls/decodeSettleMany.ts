import {
  type Address,
  type Claim,
  type GrantTerms,
  type Hex,
  unpackClaims,
  unpackTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionData, encodeFunctionData } from 'viem'

export type DecodedAccountSettlement = {
  account: Address
  packedTerms: Hex
  terms: GrantTerms
  claims: Claim[]
}

/**
 * Inverse of `encodeSettleMany`; undefined when the call data is anything else, or one of its settlements is malformed
 * (the module would skip that one).
 */
export function decodeSettleMany(data: Hex): DecodedAccountSettlement[] | undefined {
  try {
    const { functionName, args } = decodeFunctionData({ abi: sessionKeyValidatorAbi, data })
    if (functionName !== 'settleMany') return undefined
    if (encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName, args }) !== data) return undefined
    const decoded: DecodedAccountSettlement[] = []
    for (const { account, terms, claims } of args[0]) {
      const unpacked = unpackClaims(claims)
      if (!unpacked) return undefined
      decoded.push({ account, packedTerms: terms, terms: unpackTerms(terms), claims: unpacked })
    }
    return decoded
  } catch {
    return undefined
  }
}
