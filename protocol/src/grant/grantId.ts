import { type Address, encodeAbiParameters, type Hex, keccak256 } from 'viem'
import { type GrantTerms, packTerms } from './terms.ts'

/** Where a grant lives. `epoch` is the account's in the module; it rises when everything is revoked or uninstalled. */
export type GrantContext = { chainId: number; module: Address; account: Address; epoch: bigint }

const parameters = [
  { type: 'uint256' },
  { type: 'address' },
  { type: 'address' },
  { type: 'uint64' },
  { type: 'bytes32' },
] as const

/** `keccak256(abi.encode(chainId, module, account, epoch, keccak256(packedTerms)))`: the id is the terms. */
export function grantIdOf(context: GrantContext, terms: GrantTerms): Hex {
  return grantIdOfPacked(context, packTerms(terms))
}

/** The same for terms that are packed already. */
export function grantIdOfPacked({ chainId, module, account, epoch }: GrantContext, packedTerms: Hex): Hex {
  return keccak256(encodeAbiParameters(parameters, [BigInt(chainId), module, account, epoch, keccak256(packedTerms)]))
}
