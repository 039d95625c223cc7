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
import { decodeExecute } from './decodeExecute.ts'

/** Amounts are cumulative, in base units. */
export type DecodedClaim = Pick<Claim, 'payee' | 'amount' | 'cumulativeAmount'>

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
    const claims = unpackClaims(packedClaims)?.map(
      ({ payee, amount, cumulativeAmount }): DecodedClaim => ({ payee, amount, cumulativeAmount }),
    )
    return claims && { module: call.to, account, packedTerms, terms: unpackTerms(packedTerms), claims }
  } catch {
    return undefined
  }
}
