import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type ContractFunctionArgs, encodeFunctionData } from 'viem'
import type { Call } from './call.ts'

/** Functions that stop or resume what session keys may do, none of which can raise an authority beyond a grant. */
export const controlFunctions = [
  'freeze',
  'freezeAll',
  'unfreeze',
  'unfreezeAll',
  'revoke',
  'revokeAll',
  'setGuardian',
] as const
export type ControlFunction = (typeof controlFunctions)[number]

/** A grant and its account, at the module. */
export type GrantTarget = { module: Address; account: Address; grantId: Hex }

/** By the account or its guardian; reversible by the account. */
export function freezeCall({ module, account, grantId }: GrantTarget): Call {
  return call(module, 'freeze', [account, grantId])
}

/** By the account only. */
export function unfreezeCall({ module, grantId }: Omit<GrantTarget, 'account'>): Call {
  return call(module, 'unfreeze', [grantId])
}

/** By the account or its guardian; final. */
export function revokeCall({ module, account, grantId }: GrantTarget): Call {
  return call(module, 'revoke', [account, grantId])
}

/** A grant to be frozen, or revoked. */
export type GrantStop = Omit<GrantTarget, 'module'> & { revokes: boolean }

/** Grants of any accounts, each as by `freeze` or `revoke`; what cannot be stopped is skipped and stops no other. */
export function stopManyCall({ module, stops }: { module: Address; stops: readonly GrantStop[] }): Call {
  const data = encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'stopMany', args: [stops] })
  return { to: module, value: 0n, data }
}

/** All grants of the account at once; by the account or its guardian. */
export function freezeAllCall({ module, account }: { module: Address; account: Address }): Call {
  return call(module, 'freezeAll', [account])
}

/** By the account only. */
export function unfreezeAllCall({ module }: { module: Address }): Call {
  return call(module, 'unfreezeAll', [])
}

/** Ends all grants of the account for good; by the account or its guardian. */
export function revokeAllCall({ module, account }: { module: Address; account: Address }): Call {
  return call(module, 'revokeAll', [account])
}

/** By the account only; zero is nobody. */
export function setGuardianCall({ module, guardian }: { module: Address; guardian: Address }): Call {
  return call(module, 'setGuardian', [guardian])
}

function call<const name extends ControlFunction>(
  module: Address,
  functionName: name,
  args: ContractFunctionArgs<typeof sessionKeyValidatorAbi, 'nonpayable', name>,
): Call {
  const data = encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName, args } as Parameters<
    typeof encodeFunctionData
  >[0])
  return { to: module, value: 0n, data }
}
