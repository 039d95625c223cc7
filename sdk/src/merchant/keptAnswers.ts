/** An answer that can be given again. */
export type KeptAnswer = { status: number; headers: [string, string][]; body: Uint8Array<ArrayBuffer> }

/**
 * Where answers to paid calls are kept, so that a retry of a call whose answer was lost gets it again. In the process
 * by default; behind a load balancer a store that all processes share lets any of them give it.
 */
export type KeptAnswers = {
  get(key: string): KeptAnswer | undefined | Promise<KeptAnswer | undefined>
  /** Keys are hashes in hex. What a store forgets is answered 409 `request.answered` instead. */
  set(key: string, answer: KeptAnswer): void | Promise<void>
}

export type KeptAnswersOptions = {
  /** Of all bodies and headers together; the oldest go first. */
  maxBytes: number
  ttlMs: number
  /** Unix time in milliseconds. */
  clock: () => number
}

/** Answers in memory, bounded in bytes and time. */
export function createKeptAnswers({ maxBytes, ttlMs, clock }: KeptAnswersOptions): KeptAnswers & { bytes(): number } {
  /** In the order they were set. */
  const entries = new Map<string, { answer: KeptAnswer; size: number; untilMs: number }>()
  let bytes = 0

  function remove(key: string): void {
    const entry = entries.get(key)
    if (!entry) return
    entries.delete(key)
    bytes -= entry.size
  }

  return {
    bytes: () => bytes,
    get(key) {
      const entry = entries.get(key)
      if (entry && entry.untilMs > clock()) return entry.answer
      remove(key)
      return undefined
    },
    set(key, answer) {
      remove(key)
      const size = sizeOf(key, answer)
      if (size > maxBytes) return
      entries.set(key, { answer, size, untilMs: clock() + ttlMs })
      bytes += size
      for (const [oldest, { untilMs }] of entries) {
        if (bytes <= maxBytes && untilMs > clock()) break
        remove(oldest)
      }
    },
  }
}

/** What an entry costs besides its texts and bytes, about. */
const overheadBytes = 256

function sizeOf(key: string, { headers, body }: KeptAnswer): number {
  const text = headers.reduce((sum, [name, value]) => sum + name.length + value.length, key.length)
  return body.byteLength + text + overheadBytes
}
