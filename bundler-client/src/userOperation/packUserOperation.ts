import { type PackedUserOperation, toPackedUserOperation } from 'viem/account-abstraction'
import { toViemUserOperation } from './toViemUserOperation.ts'
import type { UserOperation } from './userOperation.ts'

export type { PackedUserOperation } from 'viem/account-abstraction'

/** As `handleOps` and the paymaster take it (ERC-4337's PackedUserOperation). */
export function packUserOperation(op: UserOperation): PackedUserOperation {
  return toPackedUserOperation(toViemUserOperation(op))
}
