import { type Db, listUsageQuarantine, quarantineReasons } from '@protocolbanks/stream-db'
import { Hono } from 'hono'
import { z } from 'zod'
import { type ApiEnv, operatorOnly } from './caller.ts'
import { describeUsageQuarantine } from './openapi/operations/settlementOperations.ts'
import { pageSchema } from './schemas.ts'
import { validQuery } from './validate.ts'

const listSchema = pageSchema.extend({ reason: z.enum(quarantineReasons).optional() })

/** Usage events that the journal did not take. For the operator. */
export function createUsageQuarantineRoutes({ db }: { db: Db }): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()
  routes.get('/', operatorOnly, async (c) => {
    const { items, nextCursor } = await listUsageQuarantine(db, validQuery(c, listSchema))
    return c.json({ events: items, nextCursor })
  })
  describeUsageQuarantine(routes, { list: listSchema })
  return routes
}
