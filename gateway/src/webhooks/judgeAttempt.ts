import type { WebhookVerdict } from '@protocolbanks/stream-db'

/** Tries of an event at an endpoint: with the waits below they take about 23 hours. */
export const maxAttempts = 8
const firstWaitMs = 15_000
const waitFactor = 4
/** Each wait is between 0.8 and 1.2 times as long, so that what failed together does not come back together. */
const jitter = 0.4

export type JudgedAttempt = {
  /** This one included. */
  attempts: number
  maxAttempts: number
  /** Null: no answer. */
  statusCode: number | null
  now: Date
  /** From 0 to 1. */
  random: number
}

/**
 * What follows from a try. Any 2xx is taken. 410 says that nobody is there any more. Everything else is tried again
 * after 15 s, 1 min, 4 min, 16 min, 64 min, 4.3 h and 17 h.
 */
export function judgeAttempt({ attempts, maxAttempts: most, statusCode, now, random }: JudgedAttempt): WebhookVerdict {
  if (statusCode !== null && statusCode >= 200 && statusCode < 300) return { state: 'delivered' }
  // An event that is sent to try an endpoint is tried once and changes nothing about it.
  const isTest = most === 1
  if (statusCode === 410) return { state: 'failed', disable: isTest ? 'never' : 'gone' }
  if (attempts >= most) return { state: 'failed', disable: isTest ? 'never' : 'failures' }
  const waitMs = firstWaitMs * waitFactor ** (attempts - 1) * (1 - jitter / 2 + jitter * random)
  return { state: 'pending', nextAttemptAt: new Date(now.getTime() + Math.round(waitMs)) }
}
