import type { BreakerView } from '@protocolbanks/stream-db'

export type BreakerPolicy = {
  /** How long a grant that goes on is watched more closely. */
  halfOpenMs: number
  /** So many freezes within `stopsSince` of the view end a grant for good. */
  revokeAfterStops: number
  /**
   * A critical incident ends a grant for good when so much of its whole budget, in per cent, was accepted and not settled;
   * 0: never.
   */
  revokeAtPercent: bigint
}

export type BreakerStep =
  /** Its owner lets it go on: the gateways serve it again, on probation. */
  | { to: 'half_open'; why: 'unfrozen' | 'confirmed' }
  | { to: 'closed'; why: 'quiet' }
  | { to: 'revoked'; why: 'on_chain' | 'off_chain' }
  /** Frozen so far; from now on for good. */
  | { to: 'revoke'; why: 'repeated' | 'severe' }
  /** The block that had the stop is gone. */
  | { to: 'stop_again'; why: 'reorganisation' }

/**
 * The next step of a breaker that is open or half open; undefined while it stays.
 *
 * ```
 * closed ── found ──▶ open ── the owner resumes it on the chain ──▶ half open ── quiet ──▶ closed
 *                      ▲ │ repeated, severe, rejected                  │ found
 *                      │ └──▶ revoked                                  │
 *                      └───────────────────────────────────────────────┘
 * ```
 *
 * What is found opens it in the transaction that records it, and what the owner rejects is revoked likewise (openStop in
 * db). A confirmation alone resumes nothing that is frozen on the chain: only the owner's own signature does. Where the
 * chain will never take the freeze, the confirmation is enough.
 */
export function decideBreaker(view: BreakerView, nowMs: number, policy: BreakerPolicy): BreakerStep | undefined {
  const { state, chainStatus, stop } = view
  if (state === 'closed' || state === 'revoked') return undefined
  if (chainStatus === 'revoked') return { to: 'revoked', why: 'on_chain' }
  if (state === 'half_open') {
    const isQuiet = view.liftedAt !== null && nowMs - view.liftedAt.getTime() >= policy.halfOpenMs
    return isQuiet ? { to: 'closed', why: 'quiet' } : undefined
  }
  // What is revoked needs the mirror to say so, or will never be on the chain: then the gateways' removal stands.
  if (stop.kind === 'revoke')
    return stop.chainState === 'impossible' && stop.refused ? { to: 'revoked', why: 'off_chain' } : undefined
  if (view.lost) return { to: 'stop_again', why: 'reorganisation' }
  if (view.stopsLately >= policy.revokeAfterStops) return { to: 'revoke', why: 'repeated' }
  if (isSevere(view, policy)) return { to: 'revoke', why: 'severe' }
  if (view.unfrozen) return { to: 'half_open', why: 'unfrozen' }
  if (view.confirmed && stop.chainState === 'impossible' && chainStatus === 'active')
    return { to: 'half_open', why: 'confirmed' }
  return undefined
}

function isSevere({ severity, accepted, totalLimit }: BreakerView, { revokeAtPercent }: BreakerPolicy): boolean {
  return severity === 'critical' && revokeAtPercent > 0n && accepted * 100n >= totalLimit * revokeAtPercent
}
