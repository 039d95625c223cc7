import { Hono } from 'hono'
import { stream } from 'hono/streaming'
import type { Logger } from 'pino'
import { MeterUnavailableError } from '../meter/errors.ts'
import type { Meter } from '../meter/meter.ts'
import { watchUsage } from '../usage/watchUsage.ts'
import { type ApiEnv, operatorOnly } from './caller.ts'

export type UsageRoutesDeps = {
  meter: Pick<Meter, 'peekUsage'>
  clock(): number
  logger: Logger
  /** Ends all feeds: the gateway stops. */
  stopping: AbortSignal
}

/** `GET /feed`: every charge of the deployment at the moment it is made, as lines of JSON. For the operator's sentinel. */
export function createUsageRoutes({ meter, clock, logger, stopping }: UsageRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()
  routes.get('/feed', operatorOnly, (c) => {
    c.header('content-type', 'application/x-ndjson')
    return stream(c, async (feed) => {
      const left = new AbortController()
      feed.onAbort(() => left.abort())
      try {
        const signal = AbortSignal.any([stopping, left.signal])
        for await (const line of watchUsage({ meter, clock, signal })) await feed.write(`${JSON.stringify(line)}\n`)
      } catch (error) {
        // The reader connects again, here or to another gateway.
        if (!(error instanceof MeterUnavailableError)) throw error
        logger.warn({ err: error }, 'a feed of usage ended: the meter does not answer')
      }
    })
  })
  return routes
}
