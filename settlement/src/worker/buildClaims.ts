import type { SettlementItem } from '@protocolbanks/stream-db'
import {
  type Address,
  type Claim,
  canonicalSignature,
  type GrantTerms,
  isPayee,
  type Voucher,
} from '@protocolbanks/stream-protocol'

/** An item that must not go on-chain: the module would skip it, or it could spoil the others' encoding. */
export type LeftOut = { payee: Address; reason: 'voucher.signature' | 'voucher.proof' | 'voucher.amount' }

/**
 * Claims of a settlement's items, with the recovery bit the chain needs. One bad voucher does not stop the others: it is
 * left out with its reason.
 */
export function buildClaims(
  hash: (voucher: Voucher) => Uint8Array,
  { grantId, terms, items }: { grantId: `0x${string}`; terms: GrantTerms; items: readonly SettlementItem[] },
): { claims: Claim[]; leftOut: LeftOut[] } {
  const claims: Claim[] = []
  const leftOut: LeftOut[] = []
  for (const { payee, amount, cumulativeAmount, signature, payeeProof } of items) {
    if (amount > cumulativeAmount) {
      leftOut.push({ payee, reason: 'voucher.amount' })
      continue
    }
    // Also for a list: a claim without a proof stands alone on-chain, and only a single payee's root needs none.
    if (!isPayee(terms.payeeRoot, payee, payeeProof)) {
      leftOut.push({ payee, reason: 'voucher.proof' })
      continue
    }
    const canonical = canonicalSignature(hash, { grantId, payee, cumulativeAmount, signature }, terms.sessionKey)
    if (!canonical) {
      leftOut.push({ payee, reason: 'voucher.signature' })
      continue
    }
    claims.push({ payee, amount, cumulativeAmount, signature: canonical, proof: payeeProof })
  }
  return { claims, leftOut }
}
