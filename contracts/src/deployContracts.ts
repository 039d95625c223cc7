import { BaseError } from '@protocolbanks/stream-protocol'
import type { Account, Address, Chain, PublicClient, Transport, WalletClient } from 'viem'
import { concatHex, zeroHash } from 'viem'
import {
  type DeploymentParams,
  deterministicDeployer,
  type PlannedContract,
  planDeployment,
  planTestUsdc,
} from './planDeployment.ts'

/** The wallet pays the gas; it gets no rights. */
export type DeployClients = {
  publicClient: PublicClient<Transport, Chain | undefined>
  walletClient: WalletClient<Transport, Chain | undefined, Account>
}

export type Deployment = {
  sessionKeyValidator: Address
  sponsorPaymaster: Address
  streamAccountImplementation: Address
  streamAccountFactory: Address
}

const receiptTimeoutMs = 120_000

/**
 * Puts the contracts on a chain at the addresses of `planDeployment`. What is there already is left alone, so it can be
 * called again after any failure. The paymaster still needs a deposit, and a stake for bundlers that enforce ERC-7562.
 *
 * @throws DeploymentError when the chain lacks the deterministic deployer, or a deployment reverts.
 */
export async function deployContracts(clients: DeployClients, params: DeploymentParams): Promise<Deployment> {
  const plan = planDeployment(params)
  return {
    sessionKeyValidator: await deploy(clients, plan.sessionKeyValidator),
    sponsorPaymaster: await deploy(clients, plan.sponsorPaymaster),
    // The factory's constructor looks for it.
    streamAccountImplementation: await deploy(clients, plan.streamAccountImplementation),
    streamAccountFactory: await deploy(clients, plan.streamAccountFactory),
  }
}

/** The same for the worthless token of local chains and test networks. @throws DeploymentError */
export async function deployTestUsdc(clients: DeployClients): Promise<Address> {
  return deploy(clients, planTestUsdc())
}

async function deploy({ publicClient, walletClient }: DeployClients, planned: PlannedContract): Promise<Address> {
  const hasCode = async (address: Address) => (await publicClient.getCode({ address })) !== undefined
  if (await hasCode(planned.address)) return planned.address
  if (!(await hasCode(deterministicDeployer))) {
    throw new DeploymentError(
      `There is no deterministic deployer at ${deterministicDeployer}; put it on the chain first (EIP-2470's method).`,
    )
  }
  const hash = await walletClient.sendTransaction({
    account: walletClient.account,
    chain: walletClient.chain ?? null,
    to: deterministicDeployer,
    data: concatHex([zeroHash, planned.initCode]),
  })
  const receipt = await publicClient.waitForTransactionReceipt({ hash, timeout: receiptTimeoutMs })
  if (receipt.status !== 'success' || !(await hasCode(planned.address))) {
    throw new DeploymentError(`Transaction ${hash} (${receipt.status}) left no code at ${planned.address}.`)
  }
  return planned.address
}

export class DeploymentError extends BaseError {
  override readonly code = 'deployment.failed'
  constructor(reason: string) {
    super('A contract could not be deployed.', { metaMessages: [reason], docsPath: '/errors#deployment-failed' })
  }
}
