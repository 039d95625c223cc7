import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import type { Log } from 'viem'
import { type ClaimOutcome, readClaimOutcomes } from './readClaimOutcomes.ts'
import { readErrorName } from './readErrorName.ts'
import { readOperationLogs } from './readOperationLogs.ts'

export type SettlementOutcome = {
  transactionHash: Hex
  blockNumber: bigint
  gasUsed: bigint
  gasCostWei: bigint
} & ({ success: true; claims: ClaimOutcome[] } | { success: false; revertReason: string })

export type SettlementRef = {
  entryPoint: Address
  module: Address
  userOpHash: Hex
  account: Address
  grantId: Hex
}

/**
 * What a settlement did, from the EntryPoint's and the module's events alone; undefined when the transaction does not
 * contain the UserOperation. Events of other grants, accounts and operations of the same bundle do not count.
 */
export function readSettlementOutcome(
  receipt: { transactionHash: Hex; blockNumber: bigint; logs: readonly Log[] },
  { entryPoint, module, userOpHash, account, grantId }: SettlementRef,
): SettlementOutcome | undefined {
  const operation = readOperationLogs(receipt.logs, { entryPoint, userOpHash })
  if (!operation) return undefined
  const { transactionHash, blockNumber } = receipt
  const { gasUsed, gasCostWei } = operation
  const common = { transactionHash, blockNumber, gasUsed, gasCostWei }
  if (!operation.success) {
    return { ...common, success: false, revertReason: readErrorName(sessionKeyValidatorAbi, operation.revertReason) }
  }
  return { ...common, success: true, claims: readClaimOutcomes(operation.logs, { module, account, grantId }) }
}
