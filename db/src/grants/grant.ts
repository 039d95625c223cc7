import type { Address, GrantTerms, Hex } from '@protocolbanks/stream-protocol'

/** What the mirror knows on-chain. pending: registered, not seen yet. none: the chain took its creation back. */
export type GrantChainStatus = 'pending' | 'none' | 'active' | 'frozen' | 'revoked'

/** A grant as Postgres mirrors it. Amounts in the token's base units. */
export type Grant = GrantTerms & {
  grantId: Hex
  account: Address
  packedTerms: Hex
  /** The account's in the module when the grant was made; a higher one now means that it is revoked. */
  epoch: bigint
  status: GrantChainStatus
  /** The strictest of the grant's own status, the account's freeze and epoch, the operator's control, and the owner's. */
  effectiveStatus: GrantChainStatus
  /** Its owner has frozen it at the gateway. */
  ownerFrozen: boolean
  /** To all payees, on-chain. */
  settled: bigint
  /** The period of the last settlement, and what was settled in it. */
  periodIndex: number
  periodSettled: bigint
  /** The block whose state this shows; 0n while pending. */
  blockNumber: bigint
  createdAt: Date
}
