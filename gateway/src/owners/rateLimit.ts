import { LRUCache } from 'lru-cache'

/** How often something may happen, for each key, in a window of time. In this process. */
export type RateLimit = {
  /** Counts one more. Undefined: it may happen. Otherwise the milliseconds until the window ends. */
  take(key: string): number | undefined
}

export type RateLimitOptions = {
  /** Within a window. */
  max: number
  windowMs: number
  /** Keys that are remembered; the one that was used longest ago is forgotten first. */
  maxKeys: number
  clock(): number
}

/**
 * Counts in fixed windows, each beginning with its first use.
 *
 * @example const wait = createRateLimit({ max: 30, windowMs: 60_000, maxKeys: 10_000, clock: Date.now }).take(address)
 */
export function createRateLimit({ max, windowMs, maxKeys, clock }: RateLimitOptions): RateLimit {
  const windows = new LRUCache<string, { count: number; endsAt: number }>({ max: maxKeys })
  return {
    take(key) {
      const now = clock()
      const found = windows.get(key)
      // A clock that was set back must not close a window for longer than it is.
      const isOpen = found !== undefined && now < found.endsAt && found.endsAt - now <= windowMs
      const current = isOpen ? found : { count: 0, endsAt: now + windowMs }
      if (!isOpen) windows.set(key, current)
      if (current.count >= max) return current.endsAt - now
      current.count++
      return undefined
    },
  }
}
