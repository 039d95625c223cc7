import { authenticateOwner, type Db, type OwnerSession, ownerActor } from '@protocolbanks/stream-db'
import type { MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import { problem } from '../problem.ts'
import { writeRefusal } from './auditRefusals.ts'

/** Who asks. `actor` is what is written down: `owner:` and the account. */
export type OwnerCaller = OwnerSession & { actor: string }

/** Variables of every route that an owner's session opens. */
export type OwnerEnv = { Variables: { owner: OwnerCaller } }

/** Lets a request with an open session through (RFC 6750, bearer), and says whose it is. Refusals are audited. */
export function authenticateOwnerSession(deps: {
  db: Db
  logger: Logger
  clock(): number
}): MiddlewareHandler<OwnerEnv> {
  const { db, clock } = deps
  return async (c, next) => {
    const token = /^Bearer +([\x21-\x7e]{1,200})$/i.exec(c.req.header('authorization') ?? '')?.[1]
    const session = token === undefined ? undefined : await authenticateOwner(db, token, new Date(clock()))
    if (!session) {
      const subject = `${c.req.method} ${c.req.path}`
      const refusal = { actor: 'unknown', action: 'owner_request', subject, errorCode: 'owner.session_invalid' }
      await writeRefusal(deps, refusal)
      return problem(401, 'owner.session_invalid', 'There is no such session of an owner, or it has ended.', {
        hint: 'Sign in with POST /api/owners/session and send its token as `Authorization: Bearer pbo_...`.',
        headers: { 'www-authenticate': 'Bearer', 'cache-control': 'no-store' },
      })
    }
    c.set('owner', { ...session, actor: ownerActor(session.account) })
    return next()
  }
}
