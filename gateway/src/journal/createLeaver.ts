import type { UsageEvent } from '../meter/meter.ts'

/** Which of the usage that waits is this process's to journal. */
export type Leaver = {
  /** Of what a partition's store brings: all of it, or what this process charged itself. */
  take(partition: number, events: readonly UsageEvent[]): readonly UsageEvent[]
}

export type LeaverOptions = {
  clock(): number
  /** Whether this process made the charge, and remembers it. */
  isOwn(eventId: string): boolean
  /** How long another process's charge may wait for it. 1,000 by default. */
  patienceMs?: number | undefined
}

/** After one was waited for in vain: its process may be gone, and much may be left of it. */
const hurryMs = 10_000

/**
 * Leaves each charge to the process that made it for a moment: that one needs no proof of it, every other has to check the
 * signature of its voucher anew. A charge that still waits then is anybody's. The order does not matter: an event
 * carries the newest voucher of its channel, which covers whatever was charged before it.
 */
export function createLeaver({ clock, isOwn, patienceMs = 1_000 }: LeaverOptions): Leaver {
  /** Per partition the first of others that was left, and since when. */
  const left = new Map<number, { eventId: string; sinceMs: number }>()
  const hurryUntil = new Map<number, number>()

  return {
    take(partition, events) {
      const nowMs = clock()
      const other = events.find(({ eventId }) => !isOwn(eventId))
      if (!other || nowMs < (hurryUntil.get(partition) ?? 0)) return events
      const known = left.get(partition)
      if (known?.eventId !== other.eventId) left.set(partition, { eventId: other.eventId, sinceMs: nowMs })
      else if (nowMs - known.sinceMs >= patienceMs) {
        hurryUntil.set(partition, nowMs + hurryMs)
        return events
      }
      return events.filter(({ eventId }) => isOwn(eventId))
    },
  }
}
