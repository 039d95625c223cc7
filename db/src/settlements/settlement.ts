import type { Address, Hex } from '@protocolbanks/stream-protocol'

/**
 * pending: claimed, amounts fixed, nothing built. intended: its operation and the hash are recorded, not known to be
 * sent. submitted: the bundler or a node took it. included: in a block, waiting for confirmations. confirmed: deep
 * enough, its outcome is final. failed: with a reason, and looked at again. retried: taken up again after that. dead: an
 * operator decides.
 *
 * `pending → intended → submitted → included → confirmed`, or `failed → retried → intended … | dead`
 */
export const settlementStates = [
  'pending',
  'intended',
  'submitted',
  'included',
  'confirmed',
  'failed',
  'retried',
  'dead',
] as const
export type SettlementState = (typeof settlementStates)[number]

/** The outcome is still to come. A grant has at most one open settlement. */
export const openStates = ['pending', 'intended', 'submitted', 'included', 'failed', 'retried'] as const

/** Its operation may be under way, in a lane of the account. One that failed gave its lane back. */
export const laneStates = ['pending', 'intended', 'submitted', 'included', 'retried'] as const

/** Why a settlement failed. What follows from each is decided in settlement/src/worker/decideNext.ts. */
export const failureReasons = [
  'allowance_gone',
  'balance_too_low',
  'reserve_empty',
  'limit_reached',
  'grant_frozen',
  'grant_ended',
  'payee_blocked',
  'account_blocked',
  'token_refuses',
  'voucher_invalid',
  'paymaster_deposit',
  'paymaster_budget',
  'sponsorship_refused',
  'sponsorship_expired',
  'fees_too_high',
  'fees_too_low',
  'gas_limits',
  'reverted',
  'dropped',
  'nonce_used',
  'account_refused',
  'account_unknown',
  'bundler_refused',
  'not_ours',
  'reorganised',
  'unavailable',
  'internal',
] as const
export type FailureReason = (typeof failureReasons)[number]

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
  /** Since when it has the lane. */
  laneSince: Date
  /** Of the newest attempt; null before the first. */
  userOpHash: Hex | null
  /** The UserOperation of the newest attempt, as JSON. */
  userOperation: unknown
  /** When the bundler first took it; null: not known that it did. */
  sentAt: Date | null
  /** Of the attempts before it: any of them may still be included. */
  earlierUserOpHashes: Hex[]
  txHash: Hex | null
  blockNumber: bigint | null
  /** Failed attempts so far. */
  attempts: number
  /** Looks in a row that found it unpayable for now. No attempts. */
  waits: number
  /** The chain's block at the newest of them. */
  lookedBlock: bigint | null
  nextAttemptAt: Date | null
  /** Of the newest failure, with `errorCode` and `errorMessage`. */
  failureReason: FailureReason | null
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
  /** Why nothing moved: the words of the module's event, or the code with which it was left out. */
  skippedReason: string | null
}

/** One state that a settlement was in. Written with the change itself. */
export type SettlementTransition = {
  at: Date
  /** Null: it began. */
  from: SettlementState | null
  to: SettlementState
  reason: FailureReason | null
  errorCode: string | null
  /** Who had the lease; null: an operator or the indexer. */
  worker: string | null
  /** Failed attempts until then. */
  attempt: number
  userOpHash: Hex | null
  txHash: Hex | null
}
