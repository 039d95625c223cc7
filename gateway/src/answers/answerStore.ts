import { LRUCache } from 'lru-cache'

/** An answer that can be given again. */
export type Answer = { status: number; headers: [string, string][]; body: Uint8Array<ArrayBuffer> | string | null }

/**
 * What became of a charged request in this process.
 * `kept`: the answer is here. `given`: it was answered, but the answer was too large to keep or is gone.
 * `broken`: it broke off half-way; the same request may be made again without a charge.
 * `amount`: what it cost in all, where that is not what the meter has under its id.
 */
export type Outcome =
  | { state: 'kept'; answer: Answer; amount?: bigint }
  | { state: 'given'; amount?: bigint }
  | { state: 'broken' }
  | { state: 'released' }

export type AnswerStore = {
  /** Marks a charged request as being served. The returned function records its outcome, once. */
  begin(key: string): (outcome: Outcome) => void
  /** Takes a request that broke off, to serve it once more; undefined when somebody else did. */
  resume(key: string): ((outcome: Outcome) => void) | undefined
  /** The outcome, waiting at most `waitMs` for a request that is being served; 'pending' past that, undefined when unknown. */
  find(key: string, waitMs: number): Promise<Outcome | 'pending' | undefined>
}

export type AnswerStoreOptions = { maxBytes: number; ttlMs: number }

/** Answers of this process, so that a retry with the same request id costs nothing. Bounded in bytes and time. */
export function createAnswerStore({ maxBytes, ttlMs }: AnswerStoreOptions): AnswerStore {
  const outcomes = new LRUCache<string, Stored>({
    maxSize: maxBytes,
    ttl: ttlMs,
    ttlResolution: 1000,
    sizeCalculation: (stored, key) =>
      entryBytes + key.length + (stored.state === 'packed' ? stored.headers.length + (stored.body?.length ?? 0) : 0),
  })
  const serving = new Map<string, Waiters>()

  function begin(key: string): (outcome: Outcome) => void {
    const waiters: Waiters = { done: undefined, wake: [] }
    serving.set(key, waiters)
    return (outcome) => {
      if (waiters.done) return
      waiters.done = outcome
      serving.delete(key)
      if (outcome.state === 'released') outcomes.delete(key)
      else outcomes.set(key, outcome.state === 'kept' ? pack(outcome) : outcome)
      for (const wake of waiters.wake) wake(outcome)
    }
  }

  return {
    begin,
    resume(key) {
      if (outcomes.get(key)?.state !== 'broken') return undefined
      outcomes.delete(key)
      return begin(key)
    },
    async find(key, waitMs) {
      const waiters = serving.get(key)
      if (!waiters) {
        const stored = outcomes.get(key)
        return stored?.state === 'packed' ? unpack(stored) : stored
      }
      if (waiters.wake.length >= maxWaiters) return 'pending'
      return new Promise((resolve) => {
        const timer = setTimeout(() => resolve('pending'), waitMs)
        waiters.wake.push((outcome) => {
          clearTimeout(timer)
          resolve(outcome)
        })
      })
    },
  }
}

/** Retries of one request that wait for it at the same time; more are told that it is in progress. */
const maxWaiters = 16

/** What an entry takes beside its texts, with its share of the index: measured with a hundred thousand of them. */
const entryBytes = 550

/**
 * A kept answer in two texts of one byte a character: lists of headers and small arrays of bytes take several times what
 * is in them, and the collector has to move each.
 */
type Packed = {
  state: 'packed'
  status: number
  /** JSON. */
  headers: string
  /** A character for each byte. */
  body: string | null
  isText: boolean
  amount: bigint | undefined
}

type Stored = Exclude<Outcome, { state: 'kept' }> | Packed

function pack({ answer, amount }: Extract<Outcome, { state: 'kept' }>): Packed {
  const { status, headers, body } = answer
  const isText = typeof body === 'string'
  const bytes =
    body === null ? null : isText ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.length)
  return {
    state: 'packed',
    status,
    headers: JSON.stringify(headers),
    body: bytes?.toString('latin1') ?? null,
    isText,
    amount,
  }
}

function unpack({ status, headers, body, isText, amount }: Packed): Outcome {
  const bytes = body === null ? null : Buffer.from(body, 'latin1')
  const answer: Answer = {
    status,
    headers: JSON.parse(headers),
    body: bytes && (isText ? bytes.toString() : new Uint8Array(bytes)),
  }
  return { state: 'kept', answer, ...(amount !== undefined && { amount }) }
}

type Waiters = { done: Outcome | undefined; wake: ((outcome: Outcome) => void)[] }
