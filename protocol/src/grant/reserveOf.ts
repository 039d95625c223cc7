import { type Address, getContractAddress } from 'viem'

/**
 * The PrepaidReserve of a module: `module.reserve()`, known without asking the chain, because the first contract that a
 * contract creates has an address of its own (EIP-161: its nonce is 1).
 */
export function reserveOf(module: Address): Address {
  return getContractAddress({ from: module, nonce: 1n })
}
