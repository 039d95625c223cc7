import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { streamAccount7702Abi } from '@protocolbanks/stream-protocol/abi/streamAccount7702Abi'
import { streamAccountAbi } from '@protocolbanks/stream-protocol/abi/streamAccountAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { type Abi, type Address, encodeDeployData, getCreate2Address, type Hex, zeroHash } from 'viem'
import { bytecode } from '../generated/bytecode.ts'

/** Deploys anything at an address its code alone determines: https://github.com/Arachnid/deterministic-deployment-proxy */
export const deterministicDeployer: Address = '0x4e59b44847b379578588920ca78fbf26c0b4956c'

/** EntryPoint v0.8, at the same address on every chain. */
export const entryPoint08: Address = '0x4337084D9E255Ff0702461CF8895CE9E3b5Ff108'

export type DeploymentParams = {
  /** Owns the paymaster: its deposit, its stake, its signer. */
  owner: Address
  /** Approves what the paymaster sponsors. */
  signer: Address
  /** EntryPoint v0.8 unless given. */
  entryPoint?: Address
}

export type ContractAddresses = {
  sessionKeyValidator: Address
  sponsorPaymaster: Address
  streamAccountFactory: Address
  streamAccountImplementation: Address
  /** What EOAs delegate to. */
  streamAccount7702Implementation: Address
}

/** One contract to deploy: where it lands, and creation code with constructor arguments. */
export type DeploymentStep = { name: keyof ContractAddresses | 'testUsdc'; address: Address; initCode: Hex }

/**
 * Where every contract is deployed and with what. Addresses depend on nothing but the code and these parameters, so they
 * are known before anything is deployed.
 *
 * @example planDeployment({ owner, signer }).addresses.sessionKeyValidator
 */
export function planDeployment({ owner, signer, entryPoint = entryPoint08 }: DeploymentParams): {
  addresses: ContractAddresses
  steps: DeploymentStep[]
} {
  const validator = step('sessionKeyValidator', sessionKeyValidatorAbi, bytecode.sessionKeyValidator, [])
  const paymaster = step('sponsorPaymaster', sponsorPaymasterAbi, bytecode.sponsorPaymaster, [
    entryPoint,
    owner,
    signer,
  ])
  const account = step('streamAccountImplementation', streamAccountAbi, bytecode.streamAccount, [entryPoint])
  const factory = step('streamAccountFactory', streamAccountFactoryAbi, bytecode.streamAccountFactory, [
    account.address,
  ])
  const delegate = step('streamAccount7702Implementation', streamAccount7702Abi, bytecode.streamAccount7702, [
    entryPoint,
  ])
  return {
    addresses: {
      sessionKeyValidator: validator.address,
      sponsorPaymaster: paymaster.address,
      streamAccountFactory: factory.address,
      streamAccountImplementation: account.address,
      streamAccount7702Implementation: delegate.address,
    },
    steps: [validator, paymaster, account, factory, delegate],
  }
}

/** The token of tests and local development: anybody may mint it. */
export function planTestUsdc(): DeploymentStep {
  return step('testUsdc', testUsdcAbi, bytecode.testUsdc, [])
}

function step(name: DeploymentStep['name'], abi: Abi, code: Hex, args: readonly unknown[]): DeploymentStep {
  const initCode = encodeDeployData({ abi, bytecode: code, args })
  return {
    name,
    initCode,
    address: getCreate2Address({ from: deterministicDeployer, salt: zeroHash, bytecode: initCode }),
  }
}
