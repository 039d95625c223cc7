import type { Context, Env, MiddlewareHandler } from 'hono'
import { problem } from '../../problem.ts'
import type { RequestCaller } from './requestCaller.ts'
import { createTokenBucket } from './tokenBucket.ts'

export type RequestLimitOptions = {
  /** Of one merchant or account, in this process, with bursts of as many. Each of the operator's keys has ten times that. */
  perMinute: number
  clock(): number
}

/** Counts the requests of one holder. Answers tell what is left (draft-ietf-httpapi-ratelimit-headers). */
export type RequestLimit = (caller: RequestCaller) => { headers: Record<string, string>; waitSeconds: number }

const windowSeconds = 60
const maxCallers = 10_000
const operatorFactor = 10

export function createRequestLimit({ perMinute, clock }: RequestLimitOptions): RequestLimit {
  const bucketOf = (capacity: number) =>
    createTokenBucket({ capacity, refillMs: windowSeconds * 1_000, maxKeys: maxCallers, clock })
  const operators = bucketOf(perMinute * operatorFactor)
  const others = bucketOf(perMinute)
  return ({ holder, isOperator }) => {
    const quota = isOperator ? perMinute * operatorFactor : perMinute
    const { remaining, waitMs, fullInMs } = (isOperator ? operators : others).take(holder)
    const waitSeconds = Math.ceil(waitMs / 1_000)
    const headers = {
      'ratelimit-policy': `"requests";q=${quota};w=${windowSeconds}`,
      ratelimit: `"requests";r=${remaining};t=${Math.ceil(fullInMs / 1_000)}`,
      ...(waitSeconds > 0 && { 'retry-after': `${waitSeconds}` }),
    }
    return { headers, waitSeconds }
  }
}

/** Refuses with 429 who asks too often. After it is known who asks. */
export function limitRequests<E extends Env>(
  limit: RequestLimit,
  callerOf: (c: Context<E>) => RequestCaller,
): MiddlewareHandler<E> {
  return async (c, next) => {
    const { headers, waitSeconds } = limit(callerOf(c))
    if (waitSeconds > 0) {
      return problem(429, 'rate.limited', 'There were too many requests.', {
        detail: `The next one is taken in ${waitSeconds} s.`,
        hint: 'Wait as long as Retry-After says.',
        headers,
      })
    }
    await next()
    for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value)
  }
}
