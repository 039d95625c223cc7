import { BaseError } from '@protocolbanks/stream-protocol'
import { type Address, formatEther, isAddressEqual, type PublicClient } from 'viem'
import type { ChainPreset } from './chainPresets.ts'
import { deployData } from './deployContracts.ts'
import type { Deployment } from './deployment.ts'
import { deploymentPath, findDeployment } from './deploymentFile.ts'
import {
  type DeploymentParams,
  type DeploymentStep,
  deterministicDeployer,
  entryPoint08,
  type PlannedContract,
  planDeployment,
  planTestUsdc,
} from './planDeployment.ts'
import { planEntryPoint } from './planEntryPoint.ts'

export type Roles = Pick<DeploymentParams, 'owner' | 'signer'>

export type DeploymentRequest = {
  publicClient: PublicClient
  preset: ChainPreset
  /** Who pays; undefined when nothing will be sent. */
  deployer: Address | undefined
  /** Of the paymaster, at first. May be left out where a deployments file names them. */
  roles?: Roles
  /** Adds a paymaster for this EntryPoint v0.7. Kept from the deployments file once it is there. */
  entryPoint07?: Address
  /** Of the deployments files. */
  directory: string
}

/** A deployment that can be carried out: nothing speaks against it. */
export type PreparedDeployment = {
  preset: ChainPreset
  path: string
  /** What the deployments file says, if there is one. */
  recorded: Deployment | undefined
  initialRoles: Roles
  entryPoint: Address
  entryPoint07: Address | undefined
  usdc: Address
  contracts: PlannedContract[]
  steps: PreparedStep[]
  deployer: { address: Address; balanceWei: bigint } | undefined
  /** What the missing steps cost at most: gas at today's highest price, and a quarter more. */
  costWei: bigint
}

/** Gas is undefined where there is code already. */
export type PreparedStep = { step: DeploymentStep; gas: bigint | undefined }

/**
 * Looks at the chain and decides what a deployment has to do. Sends nothing.
 *
 * @throws DeploymentRefusedError when this chain, these roles or this balance speak against it
 * @throws DeploymentFileError
 */
export async function prepareDeployment(request: DeploymentRequest): Promise<PreparedDeployment> {
  const { publicClient, preset, directory } = request
  const chainId = await publicClient.getChainId()
  if (chainId !== preset.chain.id) {
    throw new DeploymentRefusedError(
      `The RPC answers for chain ${chainId}, ${preset.name} is ${preset.chain.id}.`,
      'Give the RPC of that chain, or another --chain.',
    )
  }
  const recorded = await findDeployment(chainId, directory)
  const path = deploymentPath(chainId, directory)
  const initialRoles = rolesOf(request, recorded, path)
  const entryPoint07 = request.entryPoint07 ?? recorded?.entryPoint07
  const plan = planDeployment({ ...initialRoles, entryPoint: entryPoint08, ...(entryPoint07 && { entryPoint07 }) })
  const ownChain = preset.usdc === undefined ? [await planEntryPoint(), planTestUsdc()] : []
  const usdc = preset.usdc ?? planTestUsdc().address

  await requireCode(request, deterministicDeployer, {
    what: 'the deterministic deployer',
    todo: 'Deploy it first: https://github.com/Arachnid/deterministic-deployment-proxy',
  })
  if (preset.usdc !== undefined) {
    await requireCode(request, entryPoint08, { what: 'EntryPoint v0.8', todo: 'Is this the chain you mean?' })
    await requireCode(request, usdc, { what: "Circle's USDC", todo: 'Is this the chain you mean?' })
  }
  if (entryPoint07) {
    await requireCode(request, entryPoint07, { what: 'EntryPoint v0.7', todo: 'Leave --entry-point-07 out.' })
  }

  const account = request.deployer ?? initialRoles.owner
  const steps: PreparedStep[] = []
  for (const step of [...ownChain, ...plan.steps]) {
    const there = await publicClient.getCode({ address: step.address })
    const gas = there
      ? undefined
      : await publicClient.estimateGas({ account, to: deterministicDeployer, data: deployData(step) })
    steps.push({ step, gas })
  }
  const gas = steps.reduce((sum, { gas = 0n }) => sum + gas, 0n)
  const { maxFeePerGas } = await publicClient.estimateFeesPerGas()
  return {
    preset,
    path,
    recorded,
    initialRoles,
    entryPoint: entryPoint08,
    entryPoint07,
    usdc,
    contracts: plan.contracts,
    steps,
    deployer: request.deployer && {
      address: request.deployer,
      balanceWei: await publicClient.getBalance({ address: request.deployer }),
    },
    costWei: (gas * maxFeePerGas * 5n) / 4n,
  }
}

/** What will be done, for a person to read before it is. */
export function describePlan({ preset, contracts, steps, deployer, costWei, ...plan }: PreparedDeployment): string {
  const coin = preset.chain.nativeCurrency.symbol
  const reserve = contracts.find(({ name }) => name === 'prepaidReserve')
  const lines = steps.flatMap(({ step, gas }) => {
    const state = gas === undefined ? 'is there' : `to deploy, about ${gas} gas`
    const line = `  ${step.name.padEnd(32)}${step.address}  ${state}`
    const withIt = step.name === 'sessionKeyValidator' && reserve
    return withIt ? [line, `  ${reserve.name.padEnd(32)}${reserve.address}  with the module`] : [line]
  })
  return [
    `${preset.name}, chain ${preset.chain.id}`,
    ...lines,
    `  ${'EntryPoint v0.8'.padEnd(32)}${plan.entryPoint}`,
    `  ${'USDC'.padEnd(32)}${plan.usdc}`,
    `  ${'paymaster first owned by'.padEnd(32)}${plan.initialRoles.owner}`,
    `  ${'and first signed for by'.padEnd(32)}${plan.initialRoles.signer}`,
    deployer
      ? `  ${'deployer'.padEnd(32)}${deployer.address}  has ${formatEther(deployer.balanceWei)} ${coin}`
      : `  ${'deployer'.padEnd(32)}none: DEPLOYER_PRIVATE_KEY is not set`,
    `  ${'cost'.padEnd(32)}at most ${formatEther(costWei)} ${coin}`,
  ].join('\n')
}

function rolesOf({ roles }: DeploymentRequest, recorded: Deployment | undefined, path: string): Roles {
  if (!recorded) {
    if (roles) return roles
    throw new DeploymentRefusedError(
      'The paymaster needs an owner and a signer.',
      `Give --owner and --signer, the same as on the other chains; ${path} does not exist.`,
    )
  }
  const { initialRoles } = recorded
  if (!roles) return initialRoles
  const same = isAddressEqual(roles.owner, initialRoles.owner) && isAddressEqual(roles.signer, initialRoles.signer)
  if (same) return initialRoles
  throw new DeploymentRefusedError(
    `${path} has a paymaster that was deployed with owner ${initialRoles.owner} and signer ${initialRoles.signer}.`,
    'Leave --owner and --signer out. To replace a key call transferOwnership or setSigner, then run --record-roles.',
  )
}

async function requireCode(
  { publicClient, preset }: DeploymentRequest,
  address: Address,
  { what, todo }: { what: string; todo: string },
): Promise<void> {
  if (await publicClient.getCode({ address })) return
  throw new DeploymentRefusedError(`${preset.name} has no code at ${address}, which should be ${what}.`, todo)
}

/** A deployment was not begun: nothing was sent. */
export class DeploymentRefusedError extends BaseError {
  override readonly code = 'deployment.refused'
  constructor(reason: string, todo: string) {
    super('The deployment was not begun.', { metaMessages: [reason, todo], docsPath: '/errors#deployment-refused' })
  }
}
