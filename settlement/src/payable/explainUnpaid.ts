import type { Address, GrantSource } from '@protocolbanks/stream-protocol'

/** Why the chain would pay nothing for a claim now. */
export type UnpaidReason =
  /** The account's allowance to the module does not cover it. */
  | 'claim.allowance'
  /** The account's balance does not. */
  | 'claim.balance'
  /** The account's pool in the reserve does not. */
  | 'claim.reserve'
  /** The grant's total limit is reached, for good. */
  | 'claim.total_limit'
  /** The limit of this period is. */
  | 'claim.period_limit'
  /** The token refuses transfers to this payee, of this account, or altogether. */
  | 'claim.payee_blocked'
  | 'claim.account_blocked'
  | 'claim.token_refuses'

export type ClaimPreview = {
  payee: Address
  /** What it would move if nothing stopped it, base units. */
  due: bigint
  /** What the chain would move. */
  paid: bigint
}

/** What a grant can pay before any of the claims. Base units. */
export type PayFacts = {
  source: GrantSource
  balance: bigint
  allowance: bigint
  /** In the reserve. */
  pool: bigint
  totalLeft: bigint
  /** Undefined: no period limit. */
  periodLeft: bigint | undefined
  /** What the token says about a payee, asked only of those whom nothing else explains. */
  tokenRefuses(payee: Address): UnpaidReason
}

/**
 * Why each claim that is due and would not be paid is not, in the order of the claims: those before it that are paid take
 * from the same funds and limits. Undefined: it is paid, or nothing is due.
 */
export function explainUnpaid(claims: readonly ClaimPreview[], facts: PayFacts): (UnpaidReason | undefined)[] {
  let paid = 0n
  return claims.map((claim) => {
    const reason = claim.due > 0n && claim.paid === 0n ? reasonOf(claim, paid, facts) : undefined
    paid += claim.paid
    return reason
  })
}

function reasonOf({ payee, due }: ClaimPreview, paidBefore: bigint, facts: PayFacts): UnpaidReason {
  const needed = paidBefore + due
  if (needed > facts.totalLeft) return 'claim.total_limit'
  if (facts.periodLeft !== undefined && needed > facts.periodLeft) return 'claim.period_limit'
  if (facts.source === 'reserve') {
    if (needed > facts.pool) return 'claim.reserve'
  } else {
    if (needed > facts.allowance) return 'claim.allowance'
    if (needed > facts.balance) return 'claim.balance'
  }
  return facts.tokenRefuses(payee)
}
