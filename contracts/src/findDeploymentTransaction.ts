import { isAddressEqual, type PublicClient } from 'viem'
import { deployData } from './deployContracts.ts'
import { type DeploymentStep, deterministicDeployer } from './planDeployment.ts'

/**
 * The transaction that deployed a contract that has code now, by bisecting the blocks for the first that has it: about
 * one call for each binary digit of the block number.
 *
 * @returns null when the node has no state that old, or the deployer was called by another contract
 */
export async function findDeploymentTransaction(
  publicClient: PublicClient,
  step: DeploymentStep,
): Promise<{ hash: `0x${string}`; block: number } | null> {
  let without = -1n
  let having = await publicClient.getBlockNumber({ cacheTime: 0 })
  while (having - without > 1n) {
    const middle = (without + having) / 2n
    if (await hasCode(publicClient, step, middle)) having = middle
    else without = middle
  }
  const { transactions } = await publicClient.getBlock({ blockNumber: having, includeTransactions: true })
  const data = deployData(step)
  const found = transactions.find(({ to, input }) => to && isAddressEqual(to, deterministicDeployer) && input === data)
  return found ? { hash: found.hash, block: Number(having) } : null
}

/** False too for state that the node has dropped: the deployment is then looked for after it, and not found. */
async function hasCode(publicClient: PublicClient, step: DeploymentStep, blockNumber: bigint): Promise<boolean> {
  try {
    return (await publicClient.getCode({ address: step.address, blockNumber })) !== undefined
  } catch {
    return false
  }
}
