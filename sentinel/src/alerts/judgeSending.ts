import type { AlertVerdict } from '@protocolbanks/stream-db'

/** How a try to send ended. */
export type Sending =
  | { ok: true }
  /** It may work later, at the earliest after `afterMs` where whoever refused it said so. */
  | { ok: false; again: true; error: string; afterMs?: number | undefined }
  /** It never will. `channel`: nor will anything else there. */
  | { ok: false; again: false; error: string; channel?: 'refused' | 'blocked' | 'gone' | undefined }

/** About a day, as the waits below add up. */
export const maxAlertAttempts = 30
const firstWaitMs = 2_000
const longestWaitMs = 3_600_000

/** What follows from a try: waits grow threefold up to an hour, give or take a fifth. Pure; `random` is from 0 to 1. */
export function judgeSending(
  sending: Sending,
  { attempts, now, random }: { attempts: number; now: Date; random: number },
): AlertVerdict {
  if (sending.ok) return { state: 'delivered' }
  const { error } = sending
  if (!sending.again) return { state: 'failed', error, disable: sending.channel }
  if (attempts >= maxAlertAttempts) return { state: 'failed', error }
  const wait = Math.min(firstWaitMs * 3 ** Math.max(0, attempts - 1), longestWaitMs) * (0.8 + 0.4 * random)
  const askedMs = Math.min(sending.afterMs ?? 0, longestWaitMs)
  return { state: 'pending', nextAttemptAt: new Date(now.getTime() + Math.max(wait, askedMs)), error }
}
