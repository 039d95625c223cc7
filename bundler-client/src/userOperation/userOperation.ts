import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { Eip7702Authorization } from './eip7702Authorization.ts'

/** ERC-4337 UserOperation for EntryPoint v0.7 and v0.8, unpacked as in ERC-7769. Gas in gas units, fees in wei. */
export type UserOperation = {
  sender: Address
  nonce: bigint
  /** Or `delegationMarker`. */
  factory?: Address | undefined
  factoryData?: Hex | undefined
  callData: Hex
  callGasLimit: bigint
  verificationGasLimit: bigint
  preVerificationGas: bigint
  maxFeePerGas: bigint
  maxPriorityFeePerGas: bigint
  paymaster?: Address | undefined
  paymasterVerificationGasLimit?: bigint | undefined
  paymasterPostOpGasLimit?: bigint | undefined
  paymasterData?: Hex | undefined
  signature: Hex
  /** With `delegationMarker`: the EOA's delegation, when it is still to be made. No part of what the EntryPoint gets. */
  eip7702Auth?: Eip7702Authorization | undefined
}

/** The most it can cost, wei: all gas limits at the full fee. What the EntryPoint takes from the deposit beforehand. */
export function maxCostOf(op: Omit<UserOperation, 'signature'>): bigint {
  const gas =
    op.callGasLimit +
    op.verificationGasLimit +
    op.preVerificationGas +
    (op.paymasterVerificationGasLimit ?? 0n) +
    (op.paymasterPostOpGasLimit ?? 0n)
  return gas * op.maxFeePerGas
}
