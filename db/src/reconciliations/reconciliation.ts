import type { Address, Hex } from '@protocolbanks/stream-protocol'

/** One comparison of the books with the chain, asked for or by schedule. */
export type Reconciliation = {
  /** `rec_` and a sortable id. */
  id: string
  /** requested: waits for a process. running: one process has it. done: compared. failed: could not be compared. */
  state: 'requested' | 'running' | 'done' | 'failed'
  trigger: 'schedule' | 'request'
  /** Null: all grants. */
  grantId: Hex | null
  /** Who asked; `schedule` when nobody did. */
  actor: string
  leaseOwner: string | null
  leaseUntil: Date | null
  /** The block whose state was compared; null before. */
  blockNumber: bigint | null
  totals: ReconciliationTotals | null
  /** How many were found; null before it is done. */
  differences: number | null
  errorCode: string | null
  errorMessage: string | null
  createdAt: Date
  finishedAt: Date | null
}

/** Over all channels that were compared. Amounts in base units, as decimal strings. */
export type ReconciliationTotals = {
  channels: number
  /** What the newest vouchers allow. */
  allowedAtomic: string
  chargedAtomic: string
  settledAtomic: string
  /** Charged and not settled, what was written off included. */
  owedAtomic: string
  /** What operators gave up of it. */
  writtenOffAtomic: string
  /** Payments on the chain that were held against the token's transfers. */
  payments: number
}

/** Two books that should agree and do not; see docs/operations.md for each kind. */
export type DifferenceKind =
  | 'voucher_below_charged'
  | 'voucher_unsigned'
  | 'journal'
  | 'meter'
  | 'settled'
  | 'events'
  | 'transfer'
  | 'payment'

export type Difference = {
  kind: DifferenceKind
  grantId: Hex
  payee: Address
  /** Base units: what the authority says. */
  expected: bigint
  /** What its copy or counterpart says. */
  actual: bigint
  /** Who says which, in a sentence. */
  detail: string
}

/** So many differences of one reconciliation are kept; `Reconciliation.differences` counts all. */
export const maxKeptDifferences = 1_000
