import type { Address, Hex } from '@protocolbanks/stream-protocol'

/**
 * intended: to be sent. submitted: sent, outcome unknown. failed: the last attempt failed, another follows. These three
 * are open, and a grant has at most one open settlement. confirmed and dead are ends.
 */
export type SettlementState = 'intended' | 'submitted' | 'confirmed' | 'failed' | 'dead'

/** withdrawal: the owner takes money out of the reserve that vouchers are owed. */
export type SettlementTrigger = 'threshold' | 'age' | 'expiry' | 'request' | 'withdrawal'

/** One UserOperation that pays one grant's claims. */
export type Settlement = {
  /** `stl_` and a sortable id. */
  id: string
  grantId: Hex
  account: Address
  state: SettlementState
  trigger: SettlementTrigger
  /** The four bytes after the validator's address in the nonce key. */
  lane: number
  /** Of the newest attempt; null before the first. */
  userOpHash: Hex | null
  /** The UserOperation of the newest attempt, as JSON. */
  userOperation: unknown
  /** Of the attempts before it: any of them may still be included. */
  earlierUserOpHashes: Hex[]
  txHash: Hex | null
  blockNumber: bigint | null
  /** Failed attempts so far. */
  attempts: number
  nextAttemptAt: Date | null
  errorCode: string | null
  errorMessage: string | null
  gasUsed: bigint | null
  gasCostWei: bigint | null
  leaseOwner: string | null
  leaseUntil: Date | null
  /** A dead settlement stops its grant until it is retried or written off. */
  writtenOffAt: Date | null
  createdAt: Date
  updatedAt: Date
}

/** One claim of a settlement. Amounts in base units. */
export type SettlementItem = {
  settlementId: string
  payee: Address
  merchantId: string | null
  /** Cumulative: settle up to here. */
  amount: bigint
  /** Of the voucher. */
  cumulativeAmount: bigint
  signature: Hex
  payeeProof: Hex[]
  /** What moved; null until the outcome is known. */
  paid: bigint | null
  /** Why nothing moved, in the words of the module's event. */
  skippedReason: string | null
}
