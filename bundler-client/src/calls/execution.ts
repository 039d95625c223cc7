import type { Hex } from '@protocolbanks/stream-protocol'
import { parseAbi } from 'viem'

// The shapes that encodeExecute.ts writes and decodeExecute.ts reads. Source: ERC-7579.

export const executeAbi = parseAbi(['function execute(bytes32 mode, bytes executionCalldata) payable'])

/** `abi.encode(Execution[])` */
export const executionsParameter = [
  {
    type: 'tuple[]',
    components: [
      { name: 'target', type: 'address' },
      { name: 'value', type: 'uint256' },
      { name: 'callData', type: 'bytes' },
    ],
  },
] as const

/** Call type batch (1), execution type default (0). The single mode is all zeros. */
export const batchMode: Hex = `0x01${'00'.repeat(31)}`
