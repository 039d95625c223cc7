import { packUserOperation, type UserOperation } from '@protocolbanks/stream-bundler-client'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { hashTypedData, keccak256, slice } from 'viem'

/** Unix seconds, as in ERC-4337: `validUntil` 0 is no end; the window is open at `validAfter` in EntryPoint v0.8. */
export type SponsorshipWindow = { validUntil: number; validAfter: number }

export type SponsorDomain = { chainId: number; paymaster: Address }

const types = {
  SponsoredUserOperation: [
    { name: 'sender', type: 'address' },
    { name: 'nonce', type: 'uint256' },
    { name: 'initCodeHash', type: 'bytes32' },
    { name: 'callDataHash', type: 'bytes32' },
    { name: 'accountGasLimits', type: 'bytes32' },
    { name: 'preVerificationGas', type: 'uint256' },
    { name: 'gasFees', type: 'bytes32' },
    { name: 'paymasterGasLimits', type: 'bytes32' },
    { name: 'validUntil', type: 'uint48' },
    { name: 'validAfter', type: 'uint48' },
  ],
} as const

/**
 * EIP-712 digest that the paymaster's signer signs (contracts/src/SponsorPaymaster.sol). The operation names the
 * paymaster and its gas limits; its `paymasterData` and `signature` are not part of the digest.
 */
export function hashSponsorship(
  { chainId, paymaster }: SponsorDomain,
  op: UserOperation,
  { validUntil, validAfter }: SponsorshipWindow,
): Hex {
  const packed = packUserOperation({ ...op, paymaster, paymasterData: '0x' })
  return hashTypedData({
    domain: { name: 'Protocol Banks Sponsor', version: '1', chainId, verifyingContract: paymaster },
    types,
    primaryType: 'SponsoredUserOperation',
    message: {
      sender: packed.sender,
      nonce: packed.nonce,
      initCodeHash: keccak256(packed.initCode),
      callDataHash: keccak256(packed.callData),
      accountGasLimits: packed.accountGasLimits,
      preVerificationGas: packed.preVerificationGas,
      gasFees: packed.gasFees,
      paymasterGasLimits: slice(packed.paymasterAndData, 20, 52),
      validUntil,
      validAfter,
    },
  })
}
