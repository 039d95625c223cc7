import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'

export type RecorderDeps<T> = {
  /** Repeating it for what was recorded before does no harm. */
  record(found: T): Promise<void>
  logger: Logger
  /** That wait at most; then `add` waits. 10,000 by default. */
  maxWaiting?: number | undefined
  /** Before the first try again; doubled up to 5 s. 100 by default. */
  retryMs?: number | undefined
}

export type Recorder<T> = {
  /** Resolves at once while there is room. */
  add(found: readonly T[]): Promise<void>
  /** Not recorded yet. */
  readonly waiting: number
  /** Records until the signal, and then what is left, with one try each. */
  run(signal: AbortSignal): Promise<void>
}

const maxRetryMs = 5_000
const lookMs = 1_000

/**
 * Records what was found in its order, apart from judging: the next charges are judged while a record is being written. While
 * Postgres is gone a record is tried again until it is made.
 */
export function createRecorder<T>(deps: RecorderDeps<T>): Recorder<T> {
  const { record, logger, maxWaiting = 10_000, retryMs = 100 } = deps
  const queue: T[] = []
  let changed = new AbortController()

  function change(): void {
    changed.abort()
    changed = new AbortController()
  }

  async function untilChanged(ms: number, signal?: AbortSignal): Promise<void> {
    const until = signal ? AbortSignal.any([signal, changed.signal]) : changed.signal
    await delay(ms, undefined, { signal: until }).catch(() => undefined)
  }

  return {
    async add(found) {
      if (found.length === 0) return
      queue.push(...found)
      change()
      while (queue.length > maxWaiting) await untilChanged(lookMs)
    },
    get waiting() {
      return queue.length
    },
    async run(signal) {
      let failures = 0
      for (;;) {
        const [first] = queue
        if (first === undefined) {
          if (signal.aborted) return
          await untilChanged(lookMs, signal)
          continue
        }
        try {
          await record(first)
          queue.shift()
          if (failures > 0) logger.info({ failures }, 'what was found is recorded again')
          failures = 0
          change()
        } catch (err) {
          if (failures++ === 0) logger.warn({ err, waiting: queue.length }, 'what was found cannot be recorded yet')
          if (signal.aborted) return
          const pauseMs = Math.min(maxRetryMs, retryMs * 2 ** Math.min(failures - 1, 10))
          await delay(pauseMs, undefined, { signal }).catch(() => undefined)
        }
      }
    },
  }
}
