import { type Address, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionResult, type PublicClient, BaseError as ViemError } from 'viem'

export type SettleManyEstimate = {
  /** Gas limit to send it with. */
  gas: bigint
  /** Base units that each settlement would move. */
  paid: readonly bigint[]
}

/**
 * What a `settleMany` would move at a block, and the gas limit to send it with, a quarter above what it needs: state
 * changes until it is included, and unused gas costs nothing. A call that runs out of gas deep inside skips a settlement
 * instead of failing, which an estimate cannot see; so the limit is tried out, and replaced by `maxGas` if it pays less.
 *
 * @throws SettleManyTooLargeError when it needs more than `maxGas`, or cannot be run; what viem says when the node does
 * not answer
 */
export async function estimateSettleMany(
  chain: Pick<PublicClient, 'call' | 'estimateGas'>,
  params: { module: Address; sender: Address; data: Hex; maxGas: bigint; blockNumber: bigint },
): Promise<SettleManyEstimate> {
  const { module, sender, data, maxGas, blockNumber } = params
  const simulate = async (gas: bigint) => {
    const { data: result = '0x' } = await chain.call({ account: sender, to: module, data, gas, blockNumber })
    return decodeFunctionResult({ abi: sessionKeyValidatorAbi, functionName: 'settleMany', data: result })
  }
  try {
    const paid = await simulate(maxGas)
    const needed = await chain.estimateGas({ account: sender, to: module, data, blockNumber })
    if (needed > maxGas) throw new SettleManyTooLargeError({ detail: `It needs ${needed} gas.`, maxGas })
    const gas = (needed * 5n) / 4n
    if (gas >= maxGas) return { gas: maxGas, paid }
    const tried = await simulate(gas)
    const isEnough = tried.every((amount, index) => amount === paid[index])
    return { gas: isEnough ? gas : maxGas, paid }
  } catch (error) {
    if (isExecutionFailure(error)) {
      throw new SettleManyTooLargeError({ detail: (error as ViemError).shortMessage, maxGas, cause: error })
    }
    throw error
  }
}

/** The node ran it, and it did not come to its end. */
function isExecutionFailure(error: unknown): boolean {
  if (!(error instanceof ViemError)) return false
  const words = `${error.details} ${error.shortMessage}`
  return /revert|out ?of ?gas|gas required exceeds|intrinsic gas|exceeds.*gas limit|gas limit.*(exceed|too high)/i.test(
    words,
  )
}

export class SettleManyTooLargeError extends BaseError {
  override readonly code = 'settlements.too_large'
  override readonly retryable = true
  constructor({ detail, maxGas, cause }: { detail: string; maxGas: bigint; cause?: unknown }) {
    super('The settlements do not fit into one transaction.', {
      cause,
      metaMessages: [`Node: ${detail.slice(0, 300)}`, `Gas allowed: ${maxGas}`, 'Put fewer of them into it.'],
      docsPath: '/errors#settlements-too-large',
    })
  }
}
