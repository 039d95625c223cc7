import type { Hex } from '@protocolbanks/stream-protocol'
import { decodeAbiParameters, decodeFunctionData, getAddress, hexToBigInt, size, slice, zeroHash } from 'viem'
import type { Call } from './call.ts'
import { encodeExecute } from './encodeExecute.ts'
import { batchMode, executeAbi, executionsParameter } from './execution.ts'

/** What an account will do: one call, or a batch of them. */
export type Execution = { mode: 'single' | 'batch'; calls: Call[] }

/** Longest batch that is read. The owner's setup has three calls. */
export const maxBatchCalls = 32

/**
 * The calls in `execute` call data; undefined when it is anything else, has another mode, or is not the one canonical
 * encoding (an account may read a second meaning out of odd offsets or padding, so those are not calls we know).
 */
export function decodeExecute(callData: Hex): Execution | undefined {
  try {
    const { args } = decodeFunctionData({ abi: executeAbi, data: callData })
    const [mode, execution] = args
    const decoded =
      mode === zeroHash ? decodeSingle(execution) : mode === batchMode ? decodeBatch(execution) : undefined
    if (!decoded || encodeExecute(decoded.calls) !== callData.toLowerCase()) return undefined
    return decoded
  } catch {
    // viem throws on every kind of malformed input.
    return undefined
  }
}

function decodeSingle(execution: Hex): Execution | undefined {
  if (size(execution) < 52) return undefined
  return {
    mode: 'single',
    calls: [
      {
        to: getAddress(slice(execution, 0, 20)),
        value: hexToBigInt(slice(execution, 20, 52)),
        data: size(execution) === 52 ? '0x' : slice(execution, 52),
      },
    ],
  }
}

function decodeBatch(execution: Hex): Execution | undefined {
  const [executions] = decodeAbiParameters(executionsParameter, execution)
  // A batch of one would be encoded as a single call.
  if (executions.length < 2 || executions.length > maxBatchCalls) return undefined
  return {
    mode: 'batch',
    calls: executions.map(({ target, value, callData }) => ({ to: target, value, data: callData })),
  }
}
