import {
  type Address,
  type Claim,
  type GrantTerms,
  type Hex,
  packClaims,
  packTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { encodeFunctionData } from 'viem'
import { encodeExecute } from './encodeExecute.ts'

export type SettleParams = {
  /** SessionKeyValidator. */
  module: Address
  account: Address
  terms: GrantTerms
  claims: readonly Claim[]
}

/**
 * The only call data the module accepts in a UserOperation of its own:
 * `execute(bytes32(0), abi.encodePacked(module, uint256(0), settle(account, terms, claims)))`.
 *
 * @throws InvalidTermsError, InvalidClaimError, InvalidSignatureError
 */
export function encodeSettle({ module, account, terms, claims }: SettleParams): Hex {
  const data = encodeFunctionData({
    abi: sessionKeyValidatorAbi,
    functionName: 'settle',
    args: [account, packTerms(terms), packClaims(claims)],
  })
  return encodeExecute([{ to: module, value: 0n, data }])
}
