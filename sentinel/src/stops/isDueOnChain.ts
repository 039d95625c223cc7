import type { Stop } from '@protocolbanks/stream-db'

/** After the gateways refused the grant: what was charged before is in the journal by then. */
const journalLagMs = 3_000

/**
 * Whether a stop goes to the chain now. Where what was accepted is settled first, it waits for that while it may: until the
 * gateways refuse the grant and nothing is owed any more, or the time is up.
 */
export function isDueOnChain(
  { settleUntil, refusedAt, owes }: Pick<Stop, 'settleUntil' | 'refusedAt'> & { owes: boolean },
  nowMs: number,
): boolean {
  if (settleUntil === null || nowMs >= settleUntil.getTime()) return true
  return refusedAt !== null && nowMs - refusedAt.getTime() >= journalLagMs && !owes
}
