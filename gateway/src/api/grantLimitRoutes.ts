import { type Db, type Grant, getGrant, listGrants, setGrantLimits, withOwner } from '@protocolbanks/stream-db'
import { type Address, addressSchema, type Hex } from '@protocolbanks/stream-protocol'
import { type Context, Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { RateLimit } from '../owners/rateLimit.ts'
import { problem } from '../problem.ts'
import { ApiRefusal } from './apiProblem.ts'
import { writeRefusal } from './auditRefusals.ts'
import { type ApiEnv, operatorOnly } from './caller.ts'
import { grantLimitsSchema, viewGrantLimits } from './grantLimits.ts'
import { describeGrantLimits, describeOwnerLimits } from './openapi/operations/grantOperations.ts'
import type { OwnerEnv } from './ownerCaller.ts'
import { grantIdSchema } from './schemas.ts'
import { takeOne } from './takeOne.ts'
import { valid, validBody, validQuery } from './validate.ts'

export type GrantLimitDeps = {
  db: Db
  logger: Logger
  tokenDecimals: number
  /** Copies an account from Postgres to the meter, now. */
  mirrorAccount(account: Address): Promise<boolean>
}

const querySchema = z.strictObject({ grantId: grantIdSchema.optional() })
/** Of one session key: more are named one by one. */
const maxGrants = 100

/**
 * `GET` and `PUT /:sessionKey/limits`: what the grants of a session key may spend, or the one of `?grantId=`, set by the
 * operator. It only ever tightens: the terms, the owner's limits and the services' hold beside it.
 */
export function createGrantLimitRoutes(deps: GrantLimitDeps): Hono<ApiEnv> {
  const { db, tokenDecimals } = deps
  const schema = grantLimitsSchema(tokenDecimals)
  const routes = new Hono<ApiEnv>()

  routes.get('/:sessionKey/limits', operatorOnly, async (c) => {
    const grants = await select(c)
    return c.json({
      grants: await Promise.all(grants.map(({ grantId }) => viewGrantLimits(db, grantId, tokenDecimals))),
    })
  })

  routes.put('/:sessionKey/limits', operatorOnly, async (c) => {
    const limits = await validBody(c, schema)
    const grants = await select(c)
    const { actor } = c.get('caller')
    await db.transaction(async (tx) => {
      for (const { grantId } of grants) await setGrantLimits(tx, { grantId, setBy: 'operator', actor, limits })
    })
    const late = await reachMeter(deps, grants)
    if (late) return late
    return c.json({
      grants: await Promise.all(grants.map(({ grantId }) => viewGrantLimits(db, grantId, tokenDecimals))),
    })
  })

  async function select(c: Context<ApiEnv, '/:sessionKey/limits'>): Promise<Grant[]> {
    const { grantId } = validQuery(c, querySchema)
    const named = { sessionKey: c.req.param('sessionKey') }
    const { sessionKey } = valid(z.strictObject({ sessionKey: addressSchema }), named)
    const found = grantId === undefined ? await listGrants(db, { sessionKey, limit: maxGrants }) : undefined
    if (found?.nextCursor !== undefined) {
      throw new ApiRefusal(409, 'session_key.too_many_grants', 'The session key has too many grants for one request.', {
        detail: `Session key: ${sessionKey}, more than ${maxGrants} grants. Nothing was changed.`,
        hint: 'Name them one by one with ?grantId=.',
      })
    }
    const one = grantId && (await getGrant(db, grantId))
    const grants = found?.items ?? (one && one.sessionKey === sessionKey ? [one] : [])
    if (grants.length > 0) return grants
    throw new ApiRefusal(404, 'session_key.unknown', 'No grant of this session key is known to you.', {
      detail: `Session key: ${sessionKey}${grantId === undefined ? '' : `, grant: ${grantId}`}`,
    })
  }

  describeGrantLimits(routes, { limits: schema, query: querySchema })
  return routes
}

/** `GET` and `PUT /grants/:id/limits`: what a grant of the owner may spend, set by the owner. */
export function createOwnerLimitRoutes(deps: GrantLimitDeps & { clock(): number; changes: RateLimit }): Hono<OwnerEnv> {
  const { db, logger, tokenDecimals } = deps
  const schema = grantLimitsSchema(tokenDecimals)
  const routes = new Hono<OwnerEnv>()

  routes.get('/grants/:id/limits', async (c) => {
    const grant = await find(c)
    return grant ? c.json(await viewGrantLimits(db, grant.grantId, tokenDecimals)) : unknownGrant(c.req.param('id'))
  })

  routes.put('/grants/:id/limits', async (c) => {
    const { account, actor } = c.get('owner')
    takeOne(deps.changes, account)
    const limits = await validBody(c, schema)
    const grant = await find(c)
    if (!grant) {
      const subject = c.req.param('id')
      await writeRefusal({ db, logger }, { actor, action: 'grant_limits_change', subject, errorCode: 'grant.unknown' })
      return unknownGrant(subject)
    }
    // As the service: that it is the owner's grant was asked as the owner.
    await setGrantLimits(db, { grantId: grant.grantId, setBy: 'owner', actor, limits })
    return (await reachMeter(deps, [grant])) ?? c.json(await viewGrantLimits(db, grant.grantId, tokenDecimals))
  })

  function find(c: Context<OwnerEnv, '/grants/:id/limits'>): Promise<Grant | undefined> {
    const parsed = grantIdSchema.safeParse(c.req.param('id'))
    const grantId: Hex | undefined = parsed.success ? parsed.data : undefined
    if (grantId === undefined) return Promise.resolve(undefined)
    return withOwner(db, c.get('owner').account, (tx) => getGrant(tx, grantId))
  }

  describeOwnerLimits(routes, { limits: schema })
  return routes
}

/** The answer when the change is stored and has not reached the meter. */
async function reachMeter(
  { logger, mirrorAccount }: Pick<GrantLimitDeps, 'logger' | 'mirrorAccount'>,
  grants: readonly Grant[],
): Promise<Response | undefined> {
  const accounts = [...new Set(grants.map(({ account }) => account))]
  const copied = await Promise.allSettled(accounts.map(mirrorAccount))
  const failed = copied.find((result) => result.status === 'rejected')
  if (!failed) return undefined
  logger.warn({ err: failed.reason }, 'limits of a grant have not reached the meter')
  return problem(503, 'meter.unavailable', 'The change is stored, but has not reached the meter.', {
    hint: 'It does as soon as the meter answers. Nothing has to be repeated.',
    headers: { 'retry-after': '1' },
  })
}

function unknownGrant(id: string): Response {
  return problem(404, 'grant.unknown', 'There is no such grant of your account.', {
    detail: `Grant: ${id.slice(0, 80)}`,
  })
}
