import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'

export type RecorderDeps<T> = {
  /** Repeating it for what was recorded before does no harm. */
  record(found: T): Promise<void>
  /** Whether nothing can be recorded now, as opposed to this. */
  isOutage(error: unknown): boolean
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
/** Of one that cannot be recorded although others can: it would hold up all that comes after it. */
const maxTries = 10
const lookMs = 1_000

/**
 * Records what was found in its order, apart from judging: the next charges are judged while a record is being written. While
 * Postgres is gone a record is tried again until it is made; one that alone cannot be made is given up after some tries.
 */
export function createRecorder<T>(deps: RecorderDeps<T>): Recorder<T> {
  const { record, isOutage, logger, maxWaiting = 10_000, retryMs = 100 } = deps
  const queue: T[] = []
  let changed = new AbortController()
  let hasEnded = false

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
      while (queue.length > maxWaiting && !hasEnded) await untilChanged(lookMs)
    },
    get waiting() {
      return queue.length
    },
    async run(signal) {
      await recordAll(signal)
      hasEnded = true
      change()
    },
  }

  async function recordAll(signal: AbortSignal): Promise<void> {
    let failures = 0
    let tries = 0
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
        tries = 0
        if (failures > 0) logger.info({ failures }, 'what was found is recorded again')
        failures = 0
        change()
      } catch (err) {
        if (failures++ === 0) logger.warn({ err, waiting: queue.length }, 'what was found cannot be recorded yet')
        if (signal.aborted) return
        tries = isOutage(err) ? 0 : tries + 1
        if (tries >= maxTries) {
          logger.error({ err, found: first }, 'what was found could not be recorded, and is given up')
          queue.shift()
          tries = 0
          change()
          continue
        }
        const pauseMs = Math.min(maxRetryMs, retryMs * 2 ** Math.min(failures - 1, 10))
        await delay(pauseMs, undefined, { signal }).catch(() => undefined)
      }
    }
  }
}
