/**
 * What one process knows about the outcomes of its charges in one partition, and so up to when the journal may read.
 * Times are the store's, in milliseconds. See docs/adr/0001-finality-by-watermark.md.
 */
export type LowWater = {
  /** A charge is about to be sent. It will not be recorded before `since`. */
  open(): OpenCharge
  /** The store said yes: the charge stays open until its event has an outcome. */
  charged(attempt: number, eventId: string): void
  /** The charge has an outcome, or never was one. */
  close(attempt: number): void
  closeEvent(eventId: string): void
  /** The store's time, as it answered an announcement that is complete now. */
  heard(timeMs: number): void
  /** All charges before this moment have an outcome. Undefined: nothing was sent and no time is known yet. */
  mark(): number | undefined
  readonly openCount: number
}

export type OpenCharge = { attempt: number; since: number }

/**
 * @param maxOpenMs A charge without an outcome for this long stands: a leak must not hold the journal for ever.
 */
export function createLowWater(maxOpenMs: number): LowWater {
  // In the order of opening, so `since` never falls along it and the first is the oldest.
  const open = new Map<number, { since: number; ageFromMs: number | undefined; eventId: string | undefined }>()
  const attempts = new Map<string, number>()
  let lastTimeMs: number | undefined
  let lastAttempt = 0

  function close(attempt: number) {
    const charge = open.get(attempt)
    if (charge?.eventId !== undefined) attempts.delete(charge.eventId)
    open.delete(attempt)
  }

  return {
    open() {
      lastAttempt += 1
      const since = lastTimeMs ?? 0
      open.set(lastAttempt, { since, ageFromMs: lastTimeMs, eventId: undefined })
      return { attempt: lastAttempt, since }
    },
    charged(attempt, eventId) {
      const charge = open.get(attempt)
      if (!charge) return
      charge.eventId = eventId
      attempts.set(eventId, attempt)
    },
    close,
    closeEvent(eventId) {
      const attempt = attempts.get(eventId)
      if (attempt !== undefined) close(attempt)
    },
    heard(timeMs) {
      lastTimeMs = Math.max(lastTimeMs ?? 0, timeMs)
      for (const [attempt, charge] of open) {
        // Sent before any time was known: its age counts from now.
        charge.ageFromMs ??= lastTimeMs
        if (lastTimeMs - charge.ageFromMs <= maxOpenMs) break
        close(attempt)
      }
    },
    mark() {
      for (const charge of open.values()) return charge.since
      return lastTimeMs
    },
    get openCount() {
      return open.size
    },
  }
}
