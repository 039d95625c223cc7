/** First waiting time, doubled with each try, in milliseconds. */
const baseDelayMs = 200
const maxDelayMs = 5_000
/** A server that asks for more patience than this is not waited for. */
const maxRetryAfterMs = 30_000

/** Sends of one call that may fail for a passing reason. */
export const maxTries = 3

/**
 * How long to wait before the next try: exponential with half of it random, and no less than `Retry-After` says.
 * Undefined when that says more than 30 s.
 *
 * @param tries Sends so far, from 1.
 * @param retryAfter The header (RFC 9110, 10.2.3): seconds or a date.
 * @param random From 0 up to 1.
 */
export function retryDelayMs(
  tries: number,
  retryAfter: string | null,
  nowMs: number,
  random: number,
): number | undefined {
  const backOffMs = Math.min(maxDelayMs, baseDelayMs * 2 ** (tries - 1)) * (0.5 + random / 2)
  const askedMs = retryAfter === null ? 0 : parseRetryAfter(retryAfter, nowMs)
  return askedMs > maxRetryAfterMs ? undefined : Math.max(backOffMs, askedMs)
}

/** `Retry-After` in milliseconds from now; 0 when it says neither seconds nor a date. */
export function parseRetryAfter(text: string, nowMs: number): number {
  if (/^\d{1,9}$/.test(text.trim())) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? 0 : Math.max(0, date - nowMs)
}

/** Waits; rejects with the signal's reason as soon as it is aborted. */
export function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
