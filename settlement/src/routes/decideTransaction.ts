/** What is seen of a recorded transaction, in the order in which it is asked: nonces first, then receipts. */
export type TransactionView = {
  head: bigint
  /** The sender's next nonce at the newest block, and so deep that it counts as final. */
  nonce: number
  finalNonce: number
  /** Block of the version that is included. */
  includedIn: bigint | undefined
  /** Whether the node we ask has the newest version. */
  isKnown: boolean
  /** Since a node first took the newest version; undefined: none has. */
  sentAgoMs: number | undefined
}

export type TransactionStep =
  /** Included, deep enough: its outcome is final. */
  | 'finish'
  /** Another transaction has the nonce for good. */
  | 'lose'
  /** Send the newest version, for the first time or again. */
  | 'send'
  /** Earlier transactions of the sender are gone from the chain: send those again first. */
  | 'fill'
  /** Sign one with higher fees under the same nonce. */
  | 'replace'
  | 'wait'

export type TransactionPolicy = {
  /** Blocks that an outcome needs, its own included. */
  confirmations: number
  /** A version that waits longer than this is replaced. */
  stuckMs: number
}

/** What to do about a transaction with this nonce. */
export function decideTransaction(
  nonce: number,
  { head, nonce: next, finalNonce, includedIn, isKnown, sentAgoMs }: TransactionView,
  { confirmations, stuckMs }: TransactionPolicy,
): TransactionStep {
  if (includedIn !== undefined) return head - includedIn + 1n >= BigInt(confirmations) ? 'finish' : 'wait'
  if (finalNonce > nonce) return 'lose'
  if (next > nonce) return 'wait'
  if (next < nonce) return 'fill'
  if (sentAgoMs === undefined) return 'send'
  if (sentAgoMs >= stuckMs) return 'replace'
  return isKnown ? 'wait' : 'send'
}
