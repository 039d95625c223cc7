import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { streamAccountAbi } from '@protocolbanks/stream-protocol/abi/streamAccountAbi'
import { encodeFunctionData } from 'viem'
import type { Call } from './call.ts'

/** ERC-7579's module type of a validator. */
export const validatorModuleType = 1n

/** The account installs a validator on itself (ERC-7579). */
export function installModuleCall(params: { account: Address; module: Address; initData: Hex }): Call {
  const { account, module, initData } = params
  const data = encodeFunctionData({
    abi: streamAccountAbi,
    functionName: 'installModule',
    args: [validatorModuleType, module, initData],
  })
  return { to: account, value: 0n, data }
}

/** The account takes a validator off itself. Of our module this ends all its grants for good. */
export function uninstallModuleCall(params: { account: Address; module: Address; deInitData: Hex }): Call {
  const { account, module, deInitData } = params
  const data = encodeFunctionData({
    abi: streamAccountAbi,
    functionName: 'uninstallModule',
    args: [validatorModuleType, module, deInitData],
  })
  return { to: account, value: 0n, data }
}
