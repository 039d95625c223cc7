import { type Address, type GrantTerms, InvalidTermsError, toContractTerms } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { encodeAbiParameters, encodeFunctionData, erc20Abi, zeroAddress } from 'viem'
import type { AccountAdapter } from '../accounts/accountAdapter.ts'
import type { Call } from './call.ts'
import { installModuleCall } from './installModuleCall.ts'
import { approveReserveCall, depositCall } from './reserveCalls.ts'

export type GrantSetupParams = {
  /** The account that makes the calls. */
  account: Address
  module: Address
  /** May freeze and revoke; zero is nobody. Undefined: the module is installed already. */
  guardian: Address | undefined
  token: Address
  terms: GrantTerms
  /** The account's, where it installs modules in a way of its own; ERC-7579's common way by default. */
  adapter?: Pick<AccountAdapter, 'encodeInstall'> | undefined
} & (AllowanceSetup | ReserveSetup)

/** For terms whose source is the allowance. */
type AllowanceSetup = {
  /** The ERC-20 allowance that the module has afterwards, base units: it covers all grants of the account. */
  allowance: bigint
}

/** For terms whose source is the reserve. */
type ReserveSetup = {
  /** The module's, see `reserveOf`. */
  reserve: Address
  /** What the account puts into its pool, base units; 0n when enough is in it. All its grants of this source share it. */
  deposit: bigint
}

/**
 * What the owner signs once: install the module, allow it the token (or put money into the reserve), grant. Deployment
 * comes with the UserOperation's factory fields.
 *
 * @throws InvalidTermsError, InvalidAmountError
 */
export function grantSetupCalls(params: GrantSetupParams): Call[] {
  const { module, guardian, terms } = params
  return [
    ...(guardian === undefined ? [] : [installCall({ ...params, guardian })]),
    ...fundingCalls(params),
    {
      to: module,
      value: 0n,
      data: encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'grant', args: [toContractTerms(terms)] }),
    },
  ]
}

function installCall({ account, module, guardian, adapter }: GrantSetupParams & { guardian: Address }): Call {
  const initData = encodeAbiParameters([{ type: 'address' }], [guardian])
  return (adapter?.encodeInstall ?? installModuleCall)({ account, module, initData })
}

function fundingCalls(params: GrantSetupParams): Call[] {
  const { account, module, token, terms } = params
  if ('reserve' in params) {
    if (terms.source !== 'reserve')
      throw new InvalidTermsError('A deposit covers nothing: the source is the allowance.')
    const { reserve, deposit: amount } = params
    if (amount === 0n) return []
    return [approveReserveCall({ reserve, token, amount }), depositCall({ reserve, token, account, amount })]
  }
  if (terms.source !== 'allowance')
    throw new InvalidTermsError('An allowance covers nothing: the source is the reserve.')
  const data = encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args: [module, params.allowance] })
  return [{ to: token, value: 0n, data }]
}

/** For `guardian`: nobody may freeze or revoke but the account. */
export const noGuardian: Address = zeroAddress
