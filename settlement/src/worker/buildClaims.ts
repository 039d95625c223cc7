import type { SettlementItem } from '@protocolbanks/stream-db'
import {
  type Address,
  type Claim,
  canonicalSignature,
  type GrantTerms,
  type Hex,
  isPayee,
  type Voucher,
} from '@protocolbanks/stream-protocol'
import type { UnpaidReason } from '../payable/explainUnpaid.ts'

/** An item that must not go on-chain: the module would skip it, or it could spoil the others' encoding. */
export type LeftOut = { payee: Address; reason: BadVoucher | UnpaidReason }

export type BadVoucher = 'voucher.signature' | 'voucher.proof' | 'voucher.amount'

export type BuildClaimsParams = {
  grantId: Hex
  terms: GrantTerms
  items: readonly SettlementItem[]
  /** Payees that the chain has paid before under this grant: their claims carry no proof. None by default. */
  known?: ReadonlySet<Address> | undefined
}

/**
 * Claims of a settlement's items, with the recovery bit the chain needs. One bad voucher does not stop the others: it is
 * left out with its reason.
 */
export function buildClaims(
  hash: (voucher: Voucher) => Uint8Array,
  { grantId, terms, items, known }: BuildClaimsParams,
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
    const proof = known?.has(payee) && payeeProof.length > 0 ? 'known' : payeeProof
    claims.push({ payee, amount, cumulativeAmount, signature: canonical, proof })
  }
  return { claims, leftOut }
}
