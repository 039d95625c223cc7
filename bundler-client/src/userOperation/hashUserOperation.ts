import type { Hex } from '@protocolbanks/stream-protocol'
import { getUserOperationHash } from 'viem/account-abstraction'
import type { EntryPoint } from '../accounts/accountAdapter.ts'
import { toViemUserOperation } from './toViemUserOperation.ts'
import type { UserOperation } from './userOperation.ts'

/** Where a UserOperation is meant for. */
export type OperationContext = { chainId: number; entryPoint: EntryPoint }

/**
 * `userOpHash` as the EntryPoint computes it: v0.8 by EIP-712 in the domain `{name: "ERC4337", version: "1"}`, v0.7 over
 * the packed fields, its address and the chain id. The signature is not part of it.
 */
export function hashUserOperation({ chainId, entryPoint }: OperationContext, op: UserOperation): Hex {
  return getUserOperationHash({
    chainId,
    entryPointAddress: entryPoint.address,
    entryPointVersion: entryPoint.version,
    userOperation: toViemUserOperation(op),
  })
}
