import { type Db, listAudit } from '@protocolbanks/stream-db'
import { Hono } from 'hono'
import { z } from 'zod'
import { type ApiEnv, operatorOnly } from './caller.ts'
import { describeAudit } from './openapi/operations/settlementOperations.ts'
import { pageSchema } from './schemas.ts'
import { validQuery } from './validate.ts'

const listSchema = pageSchema.extend({
  subject: z.string().min(1).max(300).optional(),
  /** As an answer's `x-request-id` says. */
  requestId: z.string().min(1).max(200).optional(),
})

/** What operators did, and what was refused. For the operator. */
export function createAuditRoutes({ db }: { db: Db }): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()
  routes.get('/', operatorOnly, async (c) => {
    const { items, nextCursor } = await listAudit(db, validQuery(c, listSchema))
    return c.json({ entries: items, nextCursor })
  })
  describeAudit(routes, { list: listSchema })
  return routes
}
