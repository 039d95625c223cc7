import type { Hex } from '@protocolbanks/stream-protocol'
import { encodeAbiParameters, encodeFunctionData, encodePacked, zeroHash } from 'viem'
import type { Call } from './call.ts'
import { batchMode, executeAbi, executionsParameter } from './execution.ts'

/**
 * Call data of ERC-7579's `execute` with the default execution type (revert on failure): the single mode for one call,
 * the batch mode for several.
 */
export function encodeExecute(calls: readonly Call[]): Hex {
  const [first, ...rest] = calls
  if (first && rest.length === 0) {
    const execution = encodePacked(['address', 'uint256', 'bytes'], [first.to, first.value, first.data])
    return encodeFunctionData({ abi: executeAbi, args: [zeroHash, execution] })
  }
  const executions = calls.map(({ to, value, data }) => ({ target: to, value, callData: data }))
  return encodeFunctionData({
    abi: executeAbi,
    args: [batchMode, encodeAbiParameters(executionsParameter, [executions])],
  })
}
