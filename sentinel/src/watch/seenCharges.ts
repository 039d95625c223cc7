import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'

/** Which of the newest charges are known: they come by the feed, and again by the journal. */
export type SeenCharges = {
  has(charge: SeenCharge): boolean
  /** False when it was known before. */
  add(charge: SeenCharge): boolean
  /** The oldest are forgotten up to this moment: nobody tells of them again. */
  forgetBefore(atMs: number): void
  /** As text, for Postgres: at most the newest 50,000 of those that are known when it is called. Others have turns meanwhile. */
  encode(): Promise<string>
}

export type SeenCharge = { grantId: string; payee: string; requestId: string; atMs: number }

/** Beyond it the oldest are forgotten, and could be taken twice. */
const maxNames = 300_000
const maxEncoded = 50_000
/** Written down before others have their turn. */
const namesAtOnce = 2_000

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
      for (const [name, at] of names) {
        if (at >= atMs) break
        names.delete(name)
      }
    },
    async encode() {
      const newest = newestOf(names)
      const parts: string[] = []
      for (let start = 0; start < newest.length; start += namesAtOnce) {
        if (start > 0) await setImmediate()
        parts.push(JSON.stringify(newest.slice(start, start + namesAtOnce)).slice(1, -1))
      }
      return `[${parts.join(',')}]`
    },
  }
}

function newestOf(names: ReadonlyMap<string, number>): [name: string, atMs: number][] {
  const newest: [string, number][] = []
  let toSkip = names.size - maxEncoded
  for (const entry of names) if (toSkip-- <= 0) newest.push(entry)
  return newest
}

/** Of the request, not the event: one that was captured has another event and is the same charge. */
function nameOf({ grantId, payee, requestId }: SeenCharge): string {
  return createHash('sha1').update(`${grantId}:${payee}:${requestId}`.toLowerCase()).digest('base64').slice(0, 14)
}
