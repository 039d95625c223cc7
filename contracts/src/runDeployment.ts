import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { formatEther, type Hash, isAddressEqual, keccak256, type PublicClient } from 'viem'
import { entryPoint08Abi } from 'viem/account-abstraction'
import { compiler } from '../generated/artifacts.ts'
import { type DeployClients, DeploymentError, deployStep } from './deployContracts.ts'
import type { DeployedContract, Deployment } from './deployment.ts'
import { findDeploymentTransaction } from './findDeploymentTransaction.ts'
import type { DeploymentStep, PlannedContract } from './planDeployment.ts'
import { DeploymentRefusedError, type PreparedDeployment } from './prepareDeployment.ts'
import { DeploymentMismatchError, verifyDeployment } from './verifyDeployment.ts'

type SentTransaction = NonNullable<DeployedContract['transaction']>

export type RunOptions = {
  /** Of the sources; null when they are in no repository. */
  commit: string | null
  print: (line: string) => void
}

/** Long enough for the confirmations of every preset. */
const confirmationTimeoutMs = 10 * 60_000

/**
 * Deploys what a plan finds missing and verifies all of it. Safe to repeat, also after it was interrupted anywhere: what
 * is on the chain already is found there.
 *
 * @returns what the deployments file should say: what it says, if nothing has changed
 * @throws DeploymentRefusedError when the deployer cannot pay for all of it
 * @throws DeploymentError when a transaction fails
 * @throws DeploymentMismatchError when the chain does not have what was deployed
 */
export async function runDeployment(
  clients: DeployClients,
  prepared: PreparedDeployment,
  { commit, print }: RunOptions,
): Promise<Deployment> {
  requireFunds(prepared)
  const sent = new Map<string, SentTransaction>()
  for (const { step, gas } of prepared.steps) {
    if (gas === undefined) continue
    const receipt = await deployStep(clients, step)
    if (!receipt) continue
    sent.set(step.address, { hash: receipt.transactionHash, block: Number(receipt.blockNumber) })
    print(`${step.name} deployed by ${receipt.transactionHash}, ${receipt.gasUsed} gas`)
  }
  if (sent.size > 0) print(`Waiting for ${prepared.preset.confirmations} confirmations.`)
  for (const { step } of prepared.steps) {
    const transaction = sent.get(step.address)
    if (transaction) sent.set(step.address, await confirm(clients.publicClient, prepared, step, transaction.hash))
  }
  const deployment = await describe(clients.publicClient, prepared, sent, commit)
  const { problems } = await verifyDeployment(clients.publicClient, deployment)
  if (problems.length > 0) throw new DeploymentMismatchError(problems)
  return deployment
}

/** What a paymaster has at its EntryPoint, in words. */
export async function describePaymaster(publicClient: PublicClient, deployment: Deployment): Promise<string[]> {
  const { contracts, entryPoint, entryPoint07 } = deployment
  const paymasters = [
    { name: 'sponsorPaymaster', address: contracts.sponsorPaymaster.address, entryPoint },
    ...(contracts.sponsorPaymaster07 && entryPoint07
      ? [{ name: 'sponsorPaymaster07', address: contracts.sponsorPaymaster07.address, entryPoint: entryPoint07 }]
      : []),
  ]
  return Promise.all(
    paymasters.map(async ({ name, address, entryPoint: itsEntryPoint }) => {
      const { deposit, stake, unstakeDelaySec } = await publicClient.readContract({
        address: itsEntryPoint,
        abi: entryPoint08Abi,
        functionName: 'getDepositInfo',
        args: [address],
      })
      const staked =
        stake === 0n ? 'no stake: strict bundlers refuse it' : `stake ${formatEther(stake)} for ${unstakeDelaySec} s`
      return `${name} ${address}: deposit ${formatEther(deposit)}, ${staked}`
    }),
  )
}

/** The deployment with the roles its paymaster has on the chain now. */
export async function readRoles(publicClient: PublicClient, deployment: Deployment): Promise<Deployment> {
  const paymaster = { address: deployment.contracts.sponsorPaymaster.address, abi: sponsorPaymasterAbi } as const
  const [owner, signer] = await Promise.all([
    publicClient.readContract({ ...paymaster, functionName: 'owner' }),
    publicClient.readContract({ ...paymaster, functionName: 'signer' }),
  ])
  return { ...deployment, roles: { owner, signer } }
}

function requireFunds({ deployer, costWei, preset }: PreparedDeployment): void {
  const coin = preset.chain.nativeCurrency.symbol
  if (!deployer) throw new DeploymentRefusedError('There is no deployer.', 'Set DEPLOYER_PRIVATE_KEY.')
  if (deployer.balanceWei >= costWei) return
  throw new DeploymentRefusedError(
    `The deployer ${deployer.address} has ${formatEther(deployer.balanceWei)} ${coin}, and it costs up to ${formatEther(costWei)}.`,
    `Send it ${formatEther(costWei - deployer.balanceWei)} ${coin} on ${preset.name}. What it does not need stays its own.`,
  )
}

/** The block can change until then. */
async function confirm(
  publicClient: PublicClient,
  { preset }: PreparedDeployment,
  step: DeploymentStep,
  hash: Hash,
): Promise<SentTransaction> {
  const receipt = await publicClient.waitForTransactionReceipt({
    hash,
    confirmations: preset.confirmations,
    timeout: confirmationTimeoutMs,
  })
  if (receipt.status === 'success') return { hash: receipt.transactionHash, block: Number(receipt.blockNumber) }
  throw new DeploymentError(step, `The chain was reorganised, and ${hash} failed in its new block. Run it again.`)
}

/** Everything the deployments file says, from the chain and from what the file says already. */
async function describe(
  publicClient: PublicClient,
  { preset, recorded, initialRoles, contracts, ...prepared }: PreparedDeployment,
  sent: Map<string, SentTransaction>,
  commit: string | null,
): Promise<Deployment> {
  const entries: [PlannedContract['name'], DeployedContract][] = []
  for (const { name, address, constructorArguments, step } of contracts) {
    const before = recorded?.contracts[name]
    const same = before !== undefined && isAddressEqual(before.address, address)
    const code = await publicClient.getCode({ address })
    const transaction =
      sent.get(step.address) ??
      (same ? before.transaction : null) ??
      (await findDeploymentTransaction(publicClient, step))
    entries.push([
      name,
      { address, codeHash: same ? before.codeHash : keccak256(code ?? '0x'), constructorArguments, transaction },
    ])
  }
  const described = Object.fromEntries(entries) as Deployment['contracts']
  const superseded = replaced(recorded, described)
  const unchanged = recorded !== undefined && superseded.length === recorded.superseded.length
  return {
    version: 1,
    chain: preset.name,
    chainId: preset.chain.id,
    entryPoint: prepared.entryPoint,
    ...(prepared.entryPoint07 && { entryPoint07: prepared.entryPoint07 }),
    usdc: prepared.usdc,
    initialRoles,
    roles: recorded?.roles ?? initialRoles,
    contracts: described,
    superseded,
    ...(unchanged
      ? { sources: recorded.sources, compiler: recorded.compiler }
      : { sources: { commit }, compiler: { version: compiler.version, settings: { ...compiler.settings.ir } } }),
  }
}

/** What was superseded before, and what these contracts supersede. */
function replaced(recorded: Deployment | undefined, contracts: Deployment['contracts']): Deployment['superseded'] {
  if (!recorded) return []
  const old = Object.entries(recorded.contracts).flatMap(([name, before]) => {
    const now = contracts[name as keyof Deployment['contracts']]
    if (!before || (now && isAddressEqual(now.address, before.address))) return []
    return [{ ...before, name, commit: recorded.sources.commit }]
  })
  return [...recorded.superseded, ...old]
}
