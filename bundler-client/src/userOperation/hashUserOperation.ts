import type { Hex } from '@protocolbanks/stream-protocol'
import { getUserOperationHash } from 'viem/account-abstraction'
import type { EntryPoint } from '../accounts/accountAdapter.ts'
import { toViemUserOperation } from './toViemUserOperation.ts'
import type { UserOperation } from './userOperation.ts'

/** Where a UserOperation is meant for. */
export type OperationContext = { chainId: number; entryPoint: EntryPoint }

/** `userOpHash` of EntryPoint v0.8: EIP-712 in the domain `{name: "ERC4337", version: "1"}`. The signature is not part of it. */
export function hashUserOperation({ chainId, entryPoint }: OperationContext, op: UserOperation): Hex {
  return getUserOperationHash({
    chainId,
    entryPointAddress: entryPoint.address,
    entryPointVersion: entryPoint.version,
    userOperation: toViemUserOperation(op),
  })
}
