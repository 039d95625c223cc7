import { LRUCache } from 'lru-cache'

export type TokenBucketOptions = {
  /** Tokens of a full bucket, which is how many may be taken at once. */
  capacity: number
  /** In which an empty bucket fills. */
  refillMs: number
  /** Buckets that are remembered; the one that was used longest ago is forgotten, which is to say full, first. */
  maxKeys: number
  clock(): number
}

/** `remaining` whole tokens are left. `waitMs`: until there is one again; 0 when one was taken. */
export type Taken = { remaining: number; waitMs: number; fullInMs: number }

/** How often something may happen, for each key, with bursts. In this process. */
export type TokenBucket = { take(key: string): Taken }

/**
 * @example createTokenBucket({ capacity: 1_200, refillMs: 60_000, maxKeys: 10_000, clock: Date.now }).take(caller)
 */
export function createTokenBucket({ capacity, refillMs, maxKeys, clock }: TokenBucketOptions): TokenBucket {
  const buckets = new LRUCache<string, { tokens: number; at: number }>({ max: maxKeys })
  const msPerToken = refillMs / capacity
  return {
    take(key) {
      const now = clock()
      const found = buckets.get(key) ?? { tokens: capacity, at: now }
      // A clock that was set back gives nothing and takes nothing.
      const gained = Math.max(0, now - found.at) / msPerToken
      const tokens = Math.min(capacity, found.tokens + gained)
      const isTaken = tokens >= 1
      const left = isTaken ? tokens - 1 : tokens
      buckets.set(key, { tokens: left, at: now })
      return {
        remaining: Math.floor(left),
        waitMs: isTaken ? 0 : Math.ceil((1 - left) * msPerToken),
        fullInMs: Math.ceil((capacity - left) * msPerToken),
      }
    },
  }
}
