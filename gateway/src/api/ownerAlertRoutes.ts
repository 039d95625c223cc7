import { type Db, withOwner } from '@protocolbanks/stream-db'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import type { RateLimit } from '../owners/rateLimit.ts'
import { createAlertRoutes } from './alertRoutes.ts'
import type { OwnerEnv } from './ownerCaller.ts'

/** Channels of the owner of an account, below `/alert-channels`. */
export function createOwnerAlertRoutes(deps: {
  db: Db
  clock(): number
  logger: Logger
  changes: RateLimit
}): Hono<OwnerEnv> {
  const { db } = deps
  const routes = new Hono<OwnerEnv>()
  routes.route(
    '/alert-channels',
    createAlertRoutes<OwnerEnv>({
      ...deps,
      callerOf(c) {
        const { account, actor } = c.get('owner')
        return { audience: 'owner', merchantId: null, account, actor, run: (work) => withOwner(db, account, work) }
      },
    }),
  )
  return routes
}
