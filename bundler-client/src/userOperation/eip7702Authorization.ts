import type { Address, Hex } from '@protocolbanks/stream-protocol'

/**
 * What an EOA signs to run the code at `address` as its own from then on (EIP-7702): valid once, while its transaction
 * count is `nonce`. A UserOperation brings it along (ERC-7769's `eip7702Auth`), and the bundler's transaction carries it.
 */
export type Eip7702Authorization = {
  address: Address
  /** 0 means every chain. */
  chainId: number
  nonce: number
  /** 32 bytes each. */
  r: Hex
  s: Hex
  yParity: number
}

/**
 * In the place of a UserOperation's factory: the sender is an EOA that delegates. EntryPoint v0.8 and later hash the
 * delegate's address instead, so that the owner's signature is for that code only.
 */
export const delegationMarker: Address = '0x7702'
