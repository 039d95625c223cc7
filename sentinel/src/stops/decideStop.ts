import type { Hex } from '@protocolbanks/stream-protocol'

/** What is seen of a stop on the chain. */
export type StopView = {
  /** Of the grant, at the newest block. */
  status: 'active' | 'frozen' | 'revoked' | 'none'
  /** Whether the account takes a stop from this guardian. */
  isGuardian: boolean
  /** The version that is in a block, and whether it succeeded. Undefined: none is. */
  included: { txHash: Hex; blockNumber: bigint; success: boolean } | undefined
  /** The guardian's next nonce at the newest block. */
  nonce: number
  /** Whether no open stop has that nonce: what has a later one waits for nothing. */
  isGap: boolean
}

export type StopStep =
  /** The grant is stopped. With the transaction that did it, if it was ours. */
  | { do: 'confirm'; txHash: Hex | null }
  | { do: 'giveUp'; errorCode: 'guardian.not_named' | 'grant.not_on_chain' }
  /** Sign a transaction under a new nonce. */
  | { do: 'send' }
  /** Sign one with higher fees under the same nonce. */
  | { do: 'replace' }
  /** The node may have forgotten it: the same again. */
  | { do: 'repeat' }
  | { do: 'wait' }

/**
 * The next step of a stop, from what the chain says and what was recorded. The chain's status alone says that a grant is
 * stopped: a transaction that is in a block may have been another's.
 */
export function decideStop(
  stop: { kind: 'freeze' | 'revoke'; nonce: number | null; sentAgoMs: number | undefined },
  view: StopView,
  { stuckMs, repeatMs }: { stuckMs: number; repeatMs: number },
): StopStep {
  const isStopped = view.status === 'revoked' || (view.status === 'frozen' && stop.kind === 'freeze')
  if (isStopped) return { do: 'confirm', txHash: view.included?.success ? view.included.txHash : null }
  if (view.status === 'none') return { do: 'giveUp', errorCode: 'grant.not_on_chain' }
  if (!view.isGuardian) return { do: 'giveUp', errorCode: 'guardian.not_named' }
  if (stop.nonce === null || stop.sentAgoMs === undefined) return { do: 'send' }
  // Included without effect, or its nonce went to another transaction.
  if (view.included || view.nonce > stop.nonce) return { do: 'send' }
  if (view.isGap && stop.sentAgoMs >= repeatMs) return { do: 'send' }
  if (stop.sentAgoMs >= stuckMs) return { do: 'replace' }
  return { do: stop.sentAgoMs >= repeatMs ? 'repeat' : 'wait' }
}
