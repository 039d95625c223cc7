import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type Log, parseEventLogs } from 'viem'
import { readClaimOutcomes } from './readClaimOutcomes.ts'
import { readErrorName } from './readErrorName.ts'
import type { SettlementOutcome } from './readSettlementOutcome.ts'

export type SettleManyReceipt = {
  transactionHash: Hex
  blockNumber: bigint
  status: 'success' | 'reverted'
  gasUsed: bigint
  /** Wei per gas. */
  effectiveGasPrice: bigint
  logs: readonly Log[]
}

/**
 * What a `settleMany` transaction did for each settlement in it, in their order, from the module's events alone. Gas is
 * shared equally. One that is skipped as a whole has `success: false` with the name of the module's error. One that no
 * event speaks of was not in the transaction: `success: false` too.
 */
export function readSettleManyOutcome(
  receipt: SettleManyReceipt,
  { module, settlements }: { module: Address; settlements: readonly { account: Address; grantId: Hex }[] },
): SettlementOutcome[] {
  const { transactionHash, blockNumber, status, gasUsed, effectiveGasPrice, logs } = receipt
  const skipped = parseEventLogs({
    abi: sessionKeyValidatorAbi,
    logs: logs.filter(({ address }) => address.toLowerCase() === module.toLowerCase()),
    eventName: 'SettlementSkipped',
  })
  const gas = shareEqually(gasUsed, settlements.length)
  const costs = shareEqually(gasUsed * effectiveGasPrice, settlements.length)
  return settlements.map(({ account, grantId }, index): SettlementOutcome => {
    const common = { transactionHash, blockNumber, gasUsed: gas[index] ?? 0n, gasCostWei: costs[index] ?? 0n }
    if (status === 'reverted') return { ...common, success: false, revertReason: 'reverted without data' }
    // Every claim that is looked at has an event. So with one the settlement took place, whatever a token that calls
    // back in made the module say of the account besides.
    const claims = readClaimOutcomes(logs, { module, account, grantId })
    if (claims.length > 0) return { ...common, success: true, claims }
    const skip = skipped.find(({ args }) => args.account === account)
    const revertReason = skip ? readErrorName(sessionKeyValidatorAbi, skip.args.reason) : 'not in the transaction'
    return { ...common, success: false, revertReason }
  })
}

/** The shares add up to the amount; the first ones bear what does not divide. */
function shareEqually(amount: bigint, count: number): bigint[] {
  const [share, rest] = [amount / BigInt(count || 1), amount % BigInt(count || 1)]
  return Array.from({ length: count }, (_, index) => (BigInt(index) < rest ? share + 1n : share))
}
