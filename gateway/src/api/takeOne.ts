import type { RateLimit } from '../owners/rateLimit.ts'
import { ApiRefusal } from './apiProblem.ts'

/** Counts a request against a limit. @throws ApiRefusal 429 */
export function takeOne(limit: RateLimit, key: string): void {
  const waitMs = limit.take(key)
  if (waitMs === undefined) return
  const seconds = Math.ceil(waitMs / 1_000)
  throw new ApiRefusal(429, 'owner.rate_limited', 'There were too many requests.', {
    detail: `The next one is taken in ${seconds} s.`,
    headers: { 'retry-after': `${seconds}` },
  })
}
