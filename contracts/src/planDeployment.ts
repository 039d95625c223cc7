import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { type Address, encodeDeployData, getCreate2Address, type Hex, zeroHash } from 'viem'
import { bytecode } from '../generated/bytecode.ts'

/** Who runs the paymaster: `owner` holds its deposit, `signer` says which UserOperations it pays for. */
export type DeploymentParams = { owner: Address; signer: Address }

/** A contract that CREATE2 puts at `address` on every chain: `initCode` is creation code and constructor arguments. */
export type PlannedContract = { address: Address; initCode: Hex }

export type DeploymentPlan = {
  sessionKeyValidator: PlannedContract
  sponsorPaymaster: PlannedContract
  streamAccountImplementation: PlannedContract
  streamAccountFactory: PlannedContract
}

/** The deterministic deployer (Arachnid's proxy), at the same address on every chain that has it. */
export const deterministicDeployer: Address = '0x4e59b44847b379578588920cA78FbF26c0B4956C'

/**
 * Where the contracts are, or will be: a pure function of their code and of these parameters. All are for EntryPoint v0.8
 * at its canonical address.
 *
 * @example planDeployment({ owner, signer }).sessionKeyValidator.address
 */
export function planDeployment({ owner, signer }: DeploymentParams): DeploymentPlan {
  const streamAccountImplementation = planContract(bytecode.streamAccount)
  return {
    sessionKeyValidator: planContract(bytecode.sessionKeyValidator),
    sponsorPaymaster: planContract(
      encodeDeployData({ abi: sponsorPaymasterAbi, bytecode: bytecode.sponsorPaymaster, args: [owner, signer] }),
    ),
    streamAccountImplementation,
    streamAccountFactory: planContract(
      encodeDeployData({
        abi: streamAccountFactoryAbi,
        bytecode: bytecode.streamAccountFactory,
        args: [streamAccountImplementation.address],
      }),
    ),
  }
}

/** Where the worthless token for local chains and test networks is, or will be. */
export function planTestUsdc(): PlannedContract {
  return planContract(bytecode.testUsdc)
}

function planContract(initCode: Hex): PlannedContract {
  return { address: getCreate2Address({ from: deterministicDeployer, salt: zeroHash, bytecode: initCode }), initCode }
}
