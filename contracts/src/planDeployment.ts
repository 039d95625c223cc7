import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { streamAccount7702Abi } from '@protocolbanks/stream-protocol/abi/streamAccount7702Abi'
import { streamAccountAbi } from '@protocolbanks/stream-protocol/abi/streamAccountAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import {
  type Abi,
  type Address,
  encodeDeployData,
  getContractAddress,
  getCreate2Address,
  type Hex,
  size,
  slice,
  zeroHash,
} from 'viem'
import { entryPoint07Address, entryPoint08Address } from 'viem/account-abstraction'
import type { artifacts } from '../generated/artifacts.ts'
import { bytecode } from '../generated/bytecode.ts'

/** Deploys anything at an address its code alone determines: https://github.com/Arachnid/deterministic-deployment-proxy */
export const deterministicDeployer: Address = '0x4e59b44847b379578588920ca78fbf26c0b4956c'

/** EntryPoint v0.8, at the same address on every chain. */
export const entryPoint08: Address = entryPoint08Address

/** EntryPoint v0.7, at the same address on every chain. */
export const entryPoint07: Address = entryPoint07Address

export type DeploymentParams = {
  /**
   * Owns the paymaster at first: its deposit, its stake, its signer. Part of the paymaster's address, also after it has
   * handed the paymaster over.
   */
  owner: Address
  /** Approves what the paymaster sponsors, at first. Part of the paymaster's address, also after it was replaced. */
  signer: Address
  /** EntryPoint v0.8 unless given. */
  entryPoint?: Address
  /** Adds a paymaster for the accounts of this EntryPoint. */
  entryPoint07?: Address
}

export type ContractAddresses = {
  sessionKeyValidator: Address
  /** Deployed by the module's constructor. */
  prepaidReserve: Address
  sponsorPaymaster: Address
  /** If it was asked for: for accounts on EntryPoint v0.7. */
  sponsorPaymaster07?: Address
  streamAccountFactory: Address
  streamAccountImplementation: Address
  /** What EOAs delegate to. */
  streamAccount7702Implementation: Address
}

export type ArtifactName = keyof typeof artifacts

/** One contract to deploy through the deterministic deployer. */
export type DeploymentStep = {
  name: keyof ContractAddresses | 'testUsdc' | 'entryPoint'
  /** Where it lands. */
  address: Address
  /** Creation code with constructor arguments. */
  initCode: Hex
  salt: Hex
}

/** A contract of ours that a plan puts somewhere. */
export type PlannedContract = {
  name: keyof ContractAddresses
  address: Address
  artifact: ArtifactName
  /** ABI-encoded. */
  constructorArguments: Hex
  /** The step that deploys it: its own or, of the reserve, the module's. */
  step: DeploymentStep
}

/**
 * Where every contract is deployed and with what. Addresses depend on nothing but the code and these parameters, so they
 * are known before anything is deployed, and are the same on every chain.
 *
 * @example planDeployment({ owner, signer }).addresses.sessionKeyValidator
 */
export function planDeployment({ owner, signer, entryPoint = entryPoint08, ...more }: DeploymentParams): {
  addresses: ContractAddresses
  contracts: PlannedContract[]
  steps: DeploymentStep[]
} {
  const module = planned('sessionKeyValidator', 'sessionKeyValidator', sessionKeyValidatorAbi, [])
  const paymaster = planned('sponsorPaymaster', 'sponsorPaymaster', sponsorPaymasterAbi, [entryPoint, owner, signer])
  const account = planned('streamAccountImplementation', 'streamAccount', streamAccountAbi, [entryPoint])
  const factory = planned('streamAccountFactory', 'streamAccountFactory', streamAccountFactoryAbi, [account.address])
  const delegate = planned('streamAccount7702Implementation', 'streamAccount7702', streamAccount7702Abi, [entryPoint])
  const paymaster07 =
    more.entryPoint07 === undefined
      ? []
      : [planned('sponsorPaymaster07', 'sponsorPaymaster', sponsorPaymasterAbi, [more.entryPoint07, owner, signer])]
  const reserve: PlannedContract = {
    name: 'prepaidReserve',
    // The first contract that the module creates (EIP-161: a contract's nonce begins at 1).
    address: getContractAddress({ from: module.address, nonce: 1n }),
    artifact: 'prepaidReserve',
    constructorArguments: '0x',
    step: module.step,
  }
  const ours = [module, paymaster, ...paymaster07, account, factory, delegate]
  const contracts = [module, reserve, ...ours.slice(1)]
  return {
    addresses: {
      sessionKeyValidator: module.address,
      prepaidReserve: reserve.address,
      sponsorPaymaster: paymaster.address,
      ...(paymaster07[0] && { sponsorPaymaster07: paymaster07[0].address }),
      streamAccountFactory: factory.address,
      streamAccountImplementation: account.address,
      streamAccount7702Implementation: delegate.address,
    },
    contracts,
    steps: ours.map(({ step }) => step),
  }
}

/** The token of tests and local development: anybody may mint it. */
export function planTestUsdc(): DeploymentStep {
  return planStep('testUsdc', encodeDeployData({ abi: testUsdcAbi, bytecode: bytecode.testUsdc }))
}

/** @param salt zero unless given */
export function planStep(name: DeploymentStep['name'], initCode: Hex, salt: Hex = zeroHash): DeploymentStep {
  return { name, initCode, salt, address: getCreate2Address({ from: deterministicDeployer, salt, bytecode: initCode }) }
}

function planned(
  name: PlannedContract['name'],
  artifact: ArtifactName & keyof typeof bytecode,
  abi: Abi,
  args: readonly unknown[],
): PlannedContract {
  const creationCode = bytecode[artifact]
  const step = planStep(name, encodeDeployData({ abi, bytecode: creationCode, args }))
  const length = size(creationCode)
  const constructorArguments = size(step.initCode) === length ? '0x' : slice(step.initCode, length)
  return { name, address: step.address, artifact, constructorArguments, step }
}
