import type { ClaimOutcome } from '@protocolbanks/stream-bundler-client'
import type { Address } from '@protocolbanks/stream-protocol'
import type { FoundOutcome } from './findOutcomes.ts'

/**
 * What several attempts did together. The module pays only what is new: the one that paid is the outcome, and a payee got
 * what any of them paid.
 */
export function mergeOutcomes(found: readonly FoundOutcome[]): FoundOutcome | undefined {
  const successes = found.flatMap(({ userOpHash, outcome }) => (outcome.success ? [{ userOpHash, outcome }] : []))
  const decisive = successes.findLast(({ outcome }) => outcome.claims.some(({ paid }) => paid > 0n)) ?? successes.at(-1)
  if (!decisive) return found.at(-1)
  const claims = new Map<Address, ClaimOutcome>()
  for (const claim of successes.flatMap(({ outcome }) => outcome.claims)) {
    const before = claims.get(claim.payee)
    claims.set(claim.payee, before ? mergeClaims(before, claim) : claim)
  }
  return { ...decisive, outcome: { ...decisive.outcome, claims: [...claims.values()] } }
}

function mergeClaims(before: ClaimOutcome, after: ClaimOutcome): ClaimOutcome {
  const paid = before.paid + after.paid
  if (paid === 0n) return after
  return { payee: after.payee, paid, settled: after.settled ?? before.settled, skippedReason: undefined }
}
