import type { Hex } from '@protocolbanks/stream-protocol'

/** What is known of a stop on the chain. */
export type StopView = {
  /** This guardian's own event in a transaction of ours. Undefined: none was found. */
  proof: { txHash: Hex; blockNumber: bigint; logIndex: number } | undefined
  /** Of the grant, at the newest block. */
  status: 'active' | 'frozen' | 'revoked' | 'none'
  /** Whether the account takes a stop from this guardian. */
  isGuardian: boolean
}

export type StopStep =
  /** The grant is stopped: by our event, or, without one, by somebody else. */
  | { do: 'confirm'; proof: StopView['proof'] }
  | { do: 'giveUp'; errorCode: 'guardian.not_named' | 'grant.not_on_chain' }
  | { do: 'send' }

/**
 * What is to be done for one grant, once its transaction is in a block, or while there is none. Its own event proves a
 * stop, or the chain's state where another did it; that a transaction succeeded proves nothing, because what cannot be
 * stopped is skipped.
 */
export function decideStop({ kind }: { kind: 'freeze' | 'revoke' }, view: StopView): StopStep {
  if (view.proof) return { do: 'confirm', proof: view.proof }
  const isStopped = view.status === 'revoked' || (view.status === 'frozen' && kind === 'freeze')
  if (isStopped) return { do: 'confirm', proof: undefined }
  if (view.status === 'none') return { do: 'giveUp', errorCode: 'grant.not_on_chain' }
  if (!view.isGuardian) return { do: 'giveUp', errorCode: 'guardian.not_named' }
  return { do: 'send' }
}
