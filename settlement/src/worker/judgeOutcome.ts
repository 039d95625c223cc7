import type { ClaimOutcome, SettlementOutcome } from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { LeftOut } from './buildClaims.ts'
import { blockedPayeesOf, PayeeNotKnownError, SettlementRevertedError } from './errors.ts'
import type { FoundOutcome } from './findOutcomes.ts'
import type { Verdict } from './verdict.ts'

/**
 * Confirms what the chain did. `isFirst`: nothing was sent before, so its claims of known payees had no proofs.
 *
 * @throws SettlementRevertedError, PayeeNotKnownError: the settlement is not done
 */
export function judgeOutcome(
  { grant, items }: SettlementWork,
  { userOpHash, outcome }: FoundOutcome,
  { isFirst, leftOut = [] }: { isFirst: boolean; leftOut?: readonly LeftOut[] | undefined },
): Verdict {
  const { transactionHash, blockNumber, gasUsed, gasCostWei } = outcome
  if (!outcome.success) throw new SettlementRevertedError({ transactionHash, reason: outcome.revertReason })
  if (isPayeeNotKnown(outcome, { isFirst })) {
    const unknown = outcome.claims.filter(isWithoutProof)
    throw new PayeeNotKnownError({ grantId: grant.grantId, payees: unknown.map(({ payee }) => payee) })
  }
  return {
    do: 'confirm',
    confirmation: {
      userOpHash,
      txHash: transactionHash,
      blockNumber,
      gasUsed,
      gasCostWei,
      items: items.map(({ payee }) => outcomeOf(payee, outcome.claims, leftOut)),
    },
    blockedPayees: blockedPayeesOf(leftOut),
  }
}

/** Whether the chain wants a proof that the first attempt left out. Proofs that are sent were checked before. */
export function isPayeeNotKnown(outcome: SettlementOutcome, { isFirst }: { isFirst: boolean }): boolean {
  return isFirst && outcome.success && outcome.claims.some(isWithoutProof)
}

function isWithoutProof({ skippedReason }: ClaimOutcome): boolean {
  return skippedReason === 'InvalidProof'
}

function outcomeOf(
  payee: Address,
  claims: readonly ClaimOutcome[],
  leftOut: readonly LeftOut[],
): { payee: Address; paid: bigint; skippedReason?: string } {
  const claim = claims.find((one) => one.payee === payee)
  if (claim) {
    const { paid, skippedReason } = claim
    return { payee, paid, ...(skippedReason !== undefined && { skippedReason }) }
  }
  return { payee, paid: 0n, skippedReason: leftOut.find((one) => one.payee === payee)?.reason ?? 'claim.not_made' }
}
