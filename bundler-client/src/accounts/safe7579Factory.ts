import type { Address, Hex } from '@protocolbanks/stream-protocol'
import {
  concatHex,
  encodeAbiParameters,
  encodeFunctionData,
  encodePacked,
  getCreate2Address,
  keccak256,
  parseAbi,
  zeroAddress,
} from 'viem'

/** Where Safe's and Rhinestone's contracts are on a chain. */
export type Safe7579Contracts = {
  /** SafeProxyFactory 1.4.1. */
  proxyFactory: Address
  /** Safe or SafeL2 1.4.1. */
  singleton: Address
  /** Rhinestone's adapter: fallback handler and module of the Safe. */
  safe7579: Address
  /** Rhinestone's launchpad, which sets the adapter up. */
  launchpad: Address
}

/** Which Safe: the same owners may have several, told apart by the nonce of the salt. */
export type Safe7579Id = {
  /** In the order the Safe stores them. */
  owners: readonly Address[]
  /** How many of them have to sign; at least 1. */
  threshold: number
  saltNonce: bigint
}

/** SafeProxyFactory 1.4.1, as far as a UserOperation calls it. */
export const safeProxyFactoryAbi = parseAbi([
  'function createProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce) returns (address proxy)',
])

const abi = parseAbi([
  'function setup(address[] owners, uint256 threshold, address to, bytes data, address fallbackHandler, address paymentToken, uint256 payment, address paymentReceiver)',
  'struct ModuleInit { address module; bytes initData; }',
  'function addSafe7579(address safe7579, ModuleInit[] validators, ModuleInit[] executors, ModuleInit[] fallbacks, ModuleInit[] hooks, address[] attesters, uint8 threshold)',
])

/**
 * Call data by which SafeProxyFactory deploys a Safe that is an ERC-7579 account from the start, with no modules and no
 * attesters: a UserOperation's `factoryData`. Its first operation is signed by the Safe's owners.
 */
export function safe7579FactoryData(contracts: Safe7579Contracts, id: Safe7579Id): Hex {
  return encodeFunctionData({
    abi: safeProxyFactoryAbi,
    functionName: 'createProxyWithNonce',
    args: [contracts.singleton, initializerOf(contracts, id), id.saltNonce],
  })
}

/** Where the factory puts it. `proxyCreationCode` is what the factory's function of that name answers. */
export function predictSafe7579(contracts: Safe7579Contracts, id: Safe7579Id, proxyCreationCode: Hex): Address {
  const initializerHash = keccak256(initializerOf(contracts, id))
  return getCreate2Address({
    from: contracts.proxyFactory,
    salt: keccak256(encodePacked(['bytes32', 'uint256'], [initializerHash, id.saltNonce])),
    bytecode: concatHex([proxyCreationCode, encodeAbiParameters([{ type: 'address' }], [contracts.singleton])]),
  })
}

function initializerOf({ safe7579, launchpad }: Safe7579Contracts, { owners, threshold }: Safe7579Id): Hex {
  const enable = encodeFunctionData({
    abi,
    functionName: 'addSafe7579',
    args: [safe7579, [], [], [], [], [], 0],
  })
  return encodeFunctionData({
    abi,
    functionName: 'setup',
    args: [owners, BigInt(threshold), launchpad, enable, safe7579, zeroAddress, 0n, zeroAddress],
  })
}
