export type Cached<T> = {
  /** The newest value, read anew when it is older than `maxAgeMs`; the last one while it cannot be read. */
  get(): Promise<T | undefined>
  /** Of the value; infinite before the first. */
  ageMs(): number
}

export type CachedOptions<T> = {
  read(): Promise<T>
  maxAgeMs: number
  /** What a reader waits for at most; the reading goes on. */
  timeoutMs: number
  clock(): number
  onError(error: unknown): void
}

/**
 * One reading at a time, and not more often than every `maxAgeMs`, however many ask: for metrics that cost a query.
 *
 * @example const figures = createCached({ read: () => readFigures(db), maxAgeMs: 5_000, timeoutMs: 2_000, clock, onError })
 */
export function createCached<T>({ read, maxAgeMs, timeoutMs, clock, onError }: CachedOptions<T>): Cached<T> {
  let value: T | undefined
  let readAt = Number.NEGATIVE_INFINITY
  let triedAt = Number.NEGATIVE_INFINITY
  let reading: Promise<void> | undefined

  async function refresh(): Promise<void> {
    const startedAt = clock()
    triedAt = startedAt
    try {
      value = await read()
      readAt = startedAt
    } catch (error) {
      onError(error)
    } finally {
      reading = undefined
    }
  }

  return {
    async get() {
      if (!reading && clock() - triedAt >= maxAgeMs) reading = refresh()
      if (reading) {
        const timer = new AbortController()
        const late = new Promise<void>((resolve) => {
          const timeout = setTimeout(resolve, timeoutMs)
          timer.signal.addEventListener('abort', () => clearTimeout(timeout))
        })
        await Promise.race([reading, late])
        timer.abort()
      }
      return value
    },
    ageMs: () => clock() - readAt,
  }
}
