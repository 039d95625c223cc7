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
 * What a `settleMany` transaction did for these settlements of it, from the module's events alone. All accounts of the
 * transaction share its gas equally. One that is skipped as a whole has `success: false` with the name of the module's error. One that no
 * event speaks of was not in the transaction: `success: false` too.
 */
export function readSettleManyOutcome(
  receipt: SettleManyReceipt,
  { module, settlements }: { module: Address; settlements: readonly { account: Address; grantId: Hex }[] },
): SettlementOutcome[] {
  const { transactionHash, blockNumber, status, gasUsed, effectiveGasPrice, logs } = receipt
  const events = parseEventLogs({
    abi: sessionKeyValidatorAbi,
    logs: logs.filter(({ address }) => address.toLowerCase() === module.toLowerCase()),
    eventName: ['Settled', 'ClaimSkipped', 'SettlementSkipped'],
  })
  const accounts = [...new Set(events.map(({ args }) => args.account))]
  return settlements.map(({ account, grantId }): SettlementOutcome => {
    const place = { index: accounts.indexOf(account), count: accounts.length }
    const common = {
      transactionHash,
      blockNumber,
      gasUsed: shareOf(gasUsed, place),
      gasCostWei: shareOf(gasUsed * effectiveGasPrice, place),
    }
    if (status === 'reverted') return { ...common, success: false, revertReason: 'reverted without data' }
    // Every claim that is looked at has an event. So with one the settlement took place, whatever a token that calls
    // back in made the module say of the account besides.
    const claims = readClaimOutcomes(logs, { module, account, grantId })
    if (claims.length > 0) return { ...common, success: true, claims }
    const [reason] = events.flatMap(({ eventName, args }) =>
      eventName === 'SettlementSkipped' && args.account === account ? [args.reason] : [],
    )
    const revertReason = reason === undefined ? 'not in the transaction' : readErrorName(sessionKeyValidatorAbi, reason)
    return { ...common, success: false, revertReason }
  })
}

/** Equal shares that add up to the amount: the first ones bear what does not divide. Nothing for who is not there. */
function shareOf(amount: bigint, { index, count }: { index: number; count: number }): bigint {
  if (index < 0) return 0n
  const share = amount / BigInt(count)
  return BigInt(index) < amount % BigInt(count) ? share + 1n : share
}
