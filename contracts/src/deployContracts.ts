import { BaseError } from '@protocolbanks/stream-protocol'
import {
  type Account,
  type Address,
  type Chain,
  concatHex,
  type PublicClient,
  type TransactionReceipt,
  type Transport,
  type WalletClient,
} from 'viem'
import {
  type ContractAddresses,
  type DeploymentParams,
  type DeploymentStep,
  deterministicDeployer,
  planDeployment,
  planTestUsdc,
} from './planDeployment.ts'

export type DeployClients = {
  publicClient: PublicClient
  /** Pays for the deployment; needs no role in it. */
  walletClient: WalletClient<Transport, Chain, Account>
}

const receiptTimeoutMs = 60_000

/**
 * Deploys what is not there yet, at the addresses of `planDeployment`. Safe to repeat, and to run twice at once.
 *
 * @throws DeploymentError
 */
export async function deployContracts(clients: DeployClients, params: DeploymentParams): Promise<ContractAddresses> {
  const { addresses, steps } = planDeployment(params)
  for (const step of steps) await deployStep(clients, step)
  return addresses
}

/** The same for the test token, which has no business on a public chain. @throws DeploymentError */
export async function deployTestUsdc(clients: DeployClients): Promise<Address> {
  const step = planTestUsdc()
  await deployStep(clients, step)
  return step.address
}

/**
 * Deploys one contract, unless it is there.
 *
 * @returns the receipt of the transaction that was sent for it, if one was
 * @throws DeploymentError
 */
export async function deployStep(
  { publicClient, walletClient }: DeployClients,
  step: DeploymentStep,
): Promise<TransactionReceipt | undefined> {
  if (await publicClient.getCode({ address: step.address })) return undefined
  if (!(await publicClient.getCode({ address: deterministicDeployer }))) {
    throw new DeploymentError(
      step,
      `This chain has no deterministic deployer at ${deterministicDeployer}. Deploy it first: https://github.com/Arachnid/deterministic-deployment-proxy`,
    )
  }
  let receipt: TransactionReceipt
  try {
    const hash = await walletClient.sendTransaction({ to: deterministicDeployer, data: deployData(step) })
    receipt = await publicClient.waitForTransactionReceipt({ hash, timeout: receiptTimeoutMs })
  } catch (cause) {
    // The deployer reverts where there is code already, which somebody else may have put there meanwhile.
    if (await publicClient.getCode({ address: step.address })) return undefined
    throw new DeploymentError(
      step,
      'The deployment transaction failed. Run it again: what is there already stays.',
      cause,
    )
  }
  if (!(await publicClient.getCode({ address: step.address }))) {
    throw new DeploymentError(
      step,
      `The deployment transaction ${receipt.transactionHash} was mined, but there is no code. Was it out of gas?`,
    )
  }
  return receipt
}

/** Call data for the deterministic deployer: the salt, then the creation code. */
export function deployData({ salt, initCode }: DeploymentStep) {
  return concatHex([salt, initCode])
}

export class DeploymentError extends BaseError {
  override readonly code = 'deployment.failed'
  constructor(step: DeploymentStep, reason: string, cause?: unknown) {
    super(`Deploying ${step.name} failed.`, {
      metaMessages: [`Address: ${step.address}`, reason],
      cause,
      docsPath: '/errors#deployment-failed',
    })
  }
}
