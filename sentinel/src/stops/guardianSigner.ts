import { type GrantStop, stopManyCall } from '@protocolbanks/stream-bundler-client'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { PrivateKeyAccount } from 'viem'

export type StopTransaction = {
  stops: readonly GrantStop[]
  nonce: number
  gas: bigint
  /** Wei per gas. */
  maxFeePerGas: bigint
  maxPriorityFeePerGas: bigint
}

/** All that the guardian's key is used for. It has no way to sign anything else. */
export type GuardianSigner = {
  readonly address: Address
  /** A transaction that stops these grants at the module, and moves no ether. */
  sign(transaction: StopTransaction): Promise<Hex>
}

/** Keeps the guardian's key to itself: what it signs is a call of `stopMany` of this module on this chain. */
export function createGuardianSigner(
  key: PrivateKeyAccount,
  { chainId, module }: { chainId: number; module: Address },
): GuardianSigner {
  return {
    address: key.address,
    sign({ stops, ...transaction }) {
      const { to, data } = stopManyCall({ module, stops })
      return key.signTransaction({ ...transaction, type: 'eip1559', chainId, to, data, value: 0n })
    },
  }
}
