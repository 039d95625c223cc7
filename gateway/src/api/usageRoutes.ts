import { type Address, addressSchema } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { stream } from 'hono/streaming'
import type { Logger } from 'pino'
import { z } from 'zod'
import { MeterUnavailableError } from '../meter/errors.ts'
import type { Meter } from '../meter/meter.ts'
import { createRefuseAtOnce } from '../usage/refuseAtOnce.ts'
import { watchUsage } from '../usage/watchUsage.ts'
import { type ApiEnv, operatorOnly } from './caller.ts'
import { describeUsage } from './openapi/operations/settlementOperations.ts'
import { grantIdSchema } from './schemas.ts'
import { validBody } from './validate.ts'

export type UsageRoutesDeps = {
  meter: Pick<Meter, 'peekUsage' | 'refuse'>
  /** Copies an account from Postgres to the meter, now. */
  mirrorAccount(account: Address): Promise<boolean>
  clock(): number
  logger: Logger
  /** Ends all feeds: the gateway stops. */
  stopping: AbortSignal
}

const refusalsSchema = z.strictObject({
  grants: z
    .array(z.strictObject({ account: addressSchema, grantId: grantIdSchema }))
    .min(1)
    .max(100),
})

/**
 * For the operator's sentinel. `GET /feed`: every charge of the deployment at the moment it is made, as lines of JSON.
 * `POST /refusals`: grants that are refused from the answer on, while the stop is being recorded.
 */
export function createUsageRoutes(deps: UsageRoutesDeps): Hono<ApiEnv> {
  const { meter, clock, logger, stopping } = deps
  const routes = new Hono<ApiEnv>()
  const refuseAtOnce = createRefuseAtOnce(deps)
  routes.post('/refusals', operatorOnly, async (c) => {
    const { grants } = await validBody(c, refusalsSchema)
    await refuseAtOnce(grants)
    return c.body(null, 204)
  })
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
  describeUsage(routes, { refusals: refusalsSchema })
  return routes
}
