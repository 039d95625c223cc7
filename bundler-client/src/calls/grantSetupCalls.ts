import { type Address, type GrantTerms, toContractTerms } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { encodeAbiParameters, encodeFunctionData, erc20Abi, zeroAddress } from 'viem'
import type { Call } from './call.ts'
import { installModuleCall } from './installModuleCall.ts'

export type GrantSetupParams = {
  /** The account that makes the calls. */
  account: Address
  module: Address
  /** May freeze and revoke; zero is nobody. Undefined: the module is installed already. */
  guardian: Address | undefined
  token: Address
  /** The ERC-20 allowance that the module has afterwards, base units: it covers all grants of the account. */
  allowance: bigint
  terms: GrantTerms
}

/**
 * What the owner signs once: install the module, allow it the token, grant. Deployment comes with the UserOperation's
 * factory fields.
 *
 * @throws InvalidTermsError, InvalidAmountError
 */
export function grantSetupCalls({ account, module, guardian, token, allowance, terms }: GrantSetupParams): Call[] {
  const install =
    guardian === undefined
      ? []
      : [installModuleCall({ account, module, initData: encodeAbiParameters([{ type: 'address' }], [guardian]) })]
  return [
    ...install,
    {
      to: token,
      value: 0n,
      data: encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args: [module, allowance] }),
    },
    {
      to: module,
      value: 0n,
      data: encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'grant', args: [toContractTerms(terms)] }),
    },
  ]
}

/** For `guardian`: nobody may freeze or revoke but the account. */
export const noGuardian: Address = zeroAddress
