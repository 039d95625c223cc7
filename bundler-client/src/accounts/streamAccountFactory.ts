import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { concatHex, encodeAbiParameters, encodeFunctionData, getCreate2Address, keccak256 } from 'viem'

/** Which account: one owner may have several, told apart by the salt. */
export type StreamAccountId = {
  owner: Address
  /** 32 bytes. */
  salt: Hex
}

/** Call data by which `StreamAccountFactory` deploys the account, or finds it deployed: a UserOperation's `factoryData`. */
export function streamAccountFactoryData({ owner, salt }: StreamAccountId): Hex {
  return encodeFunctionData({ abi: streamAccountFactoryAbi, functionName: 'createAccount', args: [owner, salt] })
}

/**
 * Where the factory puts the account, without asking it: an ERC-1167 clone of the implementation by CREATE2, with
 * `keccak256(abi.encode(owner, salt))` as salt.
 */
export function predictStreamAccount(
  factory: { address: Address; implementation: Address },
  { owner, salt }: StreamAccountId,
): Address {
  return getCreate2Address({
    from: factory.address,
    salt: keccak256(encodeAbiParameters([{ type: 'address' }, { type: 'bytes32' }], [owner, salt])),
    bytecode: concatHex([
      '0x3d602d80600a3d3981f3363d3d373d3d3d363d73',
      factory.implementation,
      '0x5af43d82803e903d91602b57fd5bf3',
    ]),
  })
}
