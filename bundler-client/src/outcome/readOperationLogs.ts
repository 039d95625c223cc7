import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { type Log, parseEventLogs } from 'viem'

/** One UserOperation's part of a `handleOps` transaction. */
export type OperationLogs = {
  success: boolean
  /** Gas units, and wei taken from the paymaster's deposit. */
  gasUsed: bigint
  gasCostWei: bigint
  /** Revert data of the account's call, when it reverted. */
  revertReason: Hex | undefined
  /** Logs of its execution, in order. */
  logs: Log[]
}

/**
 * The logs that belong to one UserOperation; undefined when the transaction does not contain it. The EntryPoint (v0.7
 * and v0.8 alike) emits `BeforeExecution` once, then runs operation after operation and ends each with its
 * `UserOperationEvent`.
 */
export function readOperationLogs(
  logs: readonly Log[],
  { entryPoint, userOpHash }: { entryPoint: Address; userOpHash: Hex },
): OperationLogs | undefined {
  const fromEntryPoint = logs.filter(({ address }) => address.toLowerCase() === entryPoint.toLowerCase())
  const events = parseEventLogs({
    abi: entryPointAbi,
    logs: fromEntryPoint,
    eventName: ['BeforeExecution', 'UserOperationEvent', 'UserOperationRevertReason'],
  })
  let from = -1
  let revertReason: Hex | undefined
  for (const event of events) {
    const index = Number(event.logIndex)
    if (event.eventName === 'UserOperationRevertReason') {
      if (event.args.userOpHash === userOpHash) revertReason = event.args.revertReason
      continue
    }
    if (event.eventName === 'UserOperationEvent' && event.args.userOpHash === userOpHash) {
      const { success, actualGasCost, actualGasUsed } = event.args
      return {
        success,
        gasUsed: actualGasUsed,
        gasCostWei: actualGasCost,
        revertReason,
        logs: logs.filter(({ logIndex }) => Number(logIndex) > from && Number(logIndex) < index),
      }
    }
    from = index
  }
  return undefined
}
