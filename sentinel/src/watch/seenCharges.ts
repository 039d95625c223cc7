import { createHash } from 'node:crypto'

/** Which of the newest charges are known: they come by the feed, and again by the journal. */
export type SeenCharges = {
  has(charge: SeenCharge): boolean
  /** False when it was known before. */
  add(charge: SeenCharge): boolean
  /** Charges before this moment are forgotten: nobody tells of them again. */
  forgetBefore(atMs: number): void
  /** As text, for Postgres: at most the newest 50,000. */
  encode(): string
}

export type SeenCharge = { grantId: string; payee: string; requestId: string; atMs: number }

/** Beyond it the oldest are forgotten, and could be taken twice. */
const maxNames = 300_000
const maxEncoded = 50_000

/** @param encoded what another process wrote */
export function createSeenCharges(encoded = '[]'): SeenCharges {
  const names = new Map<string, number>(JSON.parse(encoded) as [name: string, atMs: number][])
  return {
    has: (charge) => names.has(nameOf(charge)),
    add(charge) {
      const name = nameOf(charge)
      if (names.has(name)) return false
      names.set(name, charge.atMs)
      if (names.size > maxNames) {
        for (const oldest of names.keys()) {
          names.delete(oldest)
          break
        }
      }
      return true
    },
    forgetBefore(atMs) {
      for (const [name, at] of names) if (at < atMs) names.delete(name)
    },
    encode: () => JSON.stringify([...names].slice(-maxEncoded)),
  }
}

/** Of the request, not the event: one that was captured has another event and is the same charge. */
function nameOf({ grantId, payee, requestId }: SeenCharge): string {
  return createHash('sha1').update(`${grantId}:${payee}:${requestId}`.toLowerCase()).digest('base64').slice(0, 14)
}
