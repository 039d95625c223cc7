/** What is seen of a recorded UserOperation that is not on the chain. */
export type OperationView = {
  /** Of the operation, and the lane's next at the newest block. */
  nonce: bigint
  nextNonce: bigint
  /** Whether the bundler holds it. */
  isPending: boolean
  /** Since the bundler first took it; undefined: not known that it did. */
  sentAgoMs: number | undefined
  /** How long its sponsorship still holds; undefined: not known. */
  sponsoredForMs: number | undefined
}

export type OperationStep =
  /** Send it, for the first time or again: the very same, which nobody pays twice. */
  | 'send'
  /** Build another under the same nonce, with higher fees and a new sponsorship. */
  | 'replace'
  /** Build another with the lane's next nonce: this one cannot be included any more, or waits for what is gone. */
  | 'rebuild'
  /** Its nonce is used, by one of its versions or by another operation. */
  | 'lose'
  | 'wait'

/** A sponsorship that ends sooner is not worth sending: bundlers refuse what expires in the next blocks. */
const minSponsoredMs = 30_000

/** What to do about an operation. `stuckMs`: what waits longer is replaced. */
export function decideOperation(
  { nonce, nextNonce, isPending, sentAgoMs, sponsoredForMs }: OperationView,
  { stuckMs }: { stuckMs: number },
): OperationStep {
  if (nextNonce > nonce) return 'lose'
  const isStuck = sentAgoMs !== undefined && sentAgoMs >= stuckMs
  // Earlier operations of the lane are gone from the chain. They are sent again by whoever sent them, or never.
  if (nextNonce < nonce) return isStuck ? 'rebuild' : isPending ? 'wait' : 'send'
  if (sponsoredForMs !== undefined && sponsoredForMs < minSponsoredMs) return 'replace'
  if (isStuck) return 'replace'
  return isPending ? 'wait' : 'send'
}
