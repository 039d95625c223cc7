import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { getAbiItem, type PublicClient, type TransactionReceipt } from 'viem'

/**
 * The transaction that included a UserOperation, asked of the chain: undefined when there is none in the range. For what
 * a bundler no longer remembers.
 */
export async function findTransaction(
  chain: Pick<PublicClient, 'getLogs' | 'getTransactionReceipt'>,
  params: { entryPoint: Address; userOpHash: Hex; fromBlock: bigint; toBlock?: bigint | undefined },
): Promise<TransactionReceipt | undefined> {
  const { entryPoint, userOpHash, fromBlock, toBlock = 'latest' } = params
  const [log] = await chain.getLogs({
    address: entryPoint,
    event: getAbiItem({ abi: entryPointAbi, name: 'UserOperationEvent' }),
    args: { userOpHash },
    fromBlock,
    toBlock,
  })
  return log && chain.getTransactionReceipt({ hash: log.transactionHash })
}
