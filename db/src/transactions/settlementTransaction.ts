import type { Address, Hex } from '@protocolbanks/stream-protocol'

/** An ordinary transaction that settles for many accounts, and those that replace it under the same nonce. */
export type SettlementTransaction = {
  /** `stx_` and a sortable id. */
  id: string
  /** Who pays the gas. Has at most one open transaction. */
  sender: Address
  /** open: its outcome is to come. confirmed: its settlements have their outcomes. lost: it will never be included. */
  state: 'open' | 'confirmed' | 'lost'
  /** Null until it is recorded: nothing was ever sent. */
  nonce: number | null
  /** The newest, signed. */
  rawTransaction: Hex | null
  /** Of all, oldest first: any of them may be included. */
  hashes: Hex[]
  /** When a node first took the newest. */
  sentAt: Date | null
  /** The one that was included, and what it cost. */
  txHash: Hex | null
  blockNumber: bigint | null
  gasUsed: bigint | null
  gasCostWei: bigint | null
  leaseOwner: string | null
  leaseUntil: Date | null
  createdAt: Date
  updatedAt: Date
}
