/** A transaction of the guardian that was handed to a node, for as many stops as it has. */
export type SentTransaction = { nonce: number; sentAgoMs: number }

export type TransactionView = {
  /** Whether a version of it is in a block. */
  isIncluded: boolean
  /** The guardian's next nonce at the newest block. */
  nextNonce: number
  /** Whether no open transaction has that nonce: what has a later one waits for nothing. */
  isGap: boolean
}

export type TransactionStep =
  /** It is in a block, or never will be: each of its stops is looked at. */
  | 'read'
  /** Sign it with higher fees under the same nonce. */
  | 'replace'
  /** The node may have forgotten it: the same again. Others may have stopped its grants meanwhile. */
  | 'repeat'
  | 'wait'

/** The next step of a transaction, from what the chain says and when it was sent. */
export function decideTransaction(
  { nonce, sentAgoMs }: SentTransaction,
  { isIncluded, nextNonce, isGap }: TransactionView,
  { stuckMs, repeatMs }: { stuckMs: number; repeatMs: number },
): TransactionStep {
  if (isIncluded || nextNonce > nonce) return 'read'
  if (isGap && sentAgoMs >= repeatMs) return 'read'
  if (sentAgoMs >= stuckMs) return 'replace'
  return sentAgoMs >= repeatMs ? 'repeat' : 'wait'
}
