import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { concatHex, hashTypedData, numberToHex } from 'viem'
import type { OperationContext } from '../userOperation/hashUserOperation.ts'
import { packUserOperation } from '../userOperation/packUserOperation.ts'
import type { UserOperation } from '../userOperation/userOperation.ts'

/** Unix seconds; 0 is no bound. */
export type SafeOperationWindow = { validAfter: number; validUntil: number }

const types = {
  SafeOp: [
    { name: 'safe', type: 'address' },
    { name: 'nonce', type: 'uint256' },
    { name: 'initCode', type: 'bytes' },
    { name: 'callData', type: 'bytes' },
    { name: 'verificationGasLimit', type: 'uint128' },
    { name: 'callGasLimit', type: 'uint128' },
    { name: 'preVerificationGas', type: 'uint256' },
    { name: 'maxPriorityFeePerGas', type: 'uint128' },
    { name: 'maxFeePerGas', type: 'uint128' },
    { name: 'paymasterAndData', type: 'bytes' },
    { name: 'validAfter', type: 'uint48' },
    { name: 'validUntil', type: 'uint48' },
    { name: 'entryPoint', type: 'address' },
  ],
} as const

/**
 * What the owners of a Safe sign for one of its UserOperations, instead of the userOpHash: EIP-712 in the domain of the
 * contract that checks it (Safe's 4337 module, or the Safe7579 adapter here).
 */
export function hashSafeOperation(
  { chainId, entryPoint, verifyingContract }: OperationContext & { verifyingContract: Address },
  op: UserOperation,
  { validAfter, validUntil }: SafeOperationWindow,
): Hex {
  const { initCode, paymasterAndData } = packUserOperation(op)
  const { sender, nonce, callData, verificationGasLimit, callGasLimit, preVerificationGas } = op
  const { maxPriorityFeePerGas, maxFeePerGas } = op
  return hashTypedData({
    domain: { chainId, verifyingContract },
    types,
    primaryType: 'SafeOp',
    message: {
      safe: sender,
      nonce,
      initCode,
      callData,
      verificationGasLimit,
      callGasLimit,
      preVerificationGas,
      maxPriorityFeePerGas,
      maxFeePerGas,
      paymasterAndData,
      validAfter,
      validUntil,
      entryPoint: entryPoint.address,
    },
  })
}

/** The operation's signature: `validAfter (6) | validUntil (6) | the owners' signatures, by ascending address`. */
export function packSafeSignature({ validAfter, validUntil }: SafeOperationWindow, signatures: Hex): Hex {
  return concatHex([numberToHex(validAfter, { size: 6 }), numberToHex(validUntil, { size: 6 }), signatures])
}
