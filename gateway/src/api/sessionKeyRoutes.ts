import {
  type Channel,
  callsOfGrants,
  freezeGrant,
  type Grant,
  type GrantControl,
  getGrant,
  type Holder,
  listAccountFunds,
  listBlockedPayees,
  listChannels,
  listControls,
  listGrants,
  type Page,
  type PageRequest,
  type Queryable,
  setControl,
  unfreezeGrant,
} from '@protocolbanks/stream-db'
import { type Address, addressSchema, formatAmount, type Hex } from '@protocolbanks/stream-protocol'
import { type Context, Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import { MeterUnavailableError } from '../meter/errors.ts'
import type { GrantMeter, Meter } from '../meter/meter.ts'
import { problem } from '../problem.ts'
import { ApiRefusal } from './apiProblem.ts'
import { type ApiEnv, asCaller, type Caller, operatorRequired } from './caller.ts'
import { createRegistrationSchema, type GrantRegistrationDeps, registerGrant } from './grantRegistration.ts'
import { viewGrant } from './grantView.ts'
import { describeSessionKeys } from './openapi/operations/grantOperations.ts'
import { grantIdSchema, nameSchema, pageSchema } from './schemas.ts'
import { valid, validBody, validQuery } from './validate.ts'

export type SessionKeyRoutesDeps = GrantRegistrationDeps & {
  meter: Pick<Meter, 'read'>
  logger: Logger
  /** Copies an account from Postgres to the meter, now. */
  mirrorAccount(account: Address): Promise<boolean>
}

const listSchema = pageSchema.extend({ account: addressSchema.optional(), sessionKey: addressSchema.optional() })
const selectionSchema = pageSchema.extend({ grantId: grantIdSchema.optional() })
const grantQuerySchema = z.strictObject({ grantId: grantIdSchema.optional() })
const holdSchema = z
  .strictObject({ reason: nameSchema.optional(), holder: z.enum(['sentinel', 'rule']).optional() })
  .default({})

/** Whose holds an unfreeze lifts that names none: what was set by hand, and by what works for them. */
const holdersOfOperator: readonly Holder[] = ['operator', 'sentinel', 'rule']
const holdersOfMerchant: readonly Holder[] = ['merchant', 'rule']

/** A session key rarely has more than a few grants. */
const maxGrantsPerChange = 1_000

/**
 * Session keys and their grants. Freezing and removing act off-chain and at once, on all grants of the key or on the one
 * of `?grantId=`: a merchant's on its own channels, the operator's on the whole grant.
 */
export function createSessionKeyRoutes(deps: SessionKeyRoutesDeps): Hono<ApiEnv> {
  const { db, chain, meter, logger, mirrorAccount, tokenDecimals } = deps
  const registrationSchema = createRegistrationSchema(deps)
  const routes = new Hono<ApiEnv>()
  type RouteContext = Context<ApiEnv>

  routes.post('/', async (c) => {
    const { isNew, answer } = await registerGrant(deps, c.get('caller'), await validBody(c, registrationSchema))
    return c.json(answer, isNew ? 201 : 200)
  })

  routes.get('/', async (c) => {
    const filter = validQuery(c, listSchema)
    const caller = c.get('caller')
    const page = await asCaller(db, caller, async (queryable) => {
      const { items, nextCursor } = await listGrants(queryable, filter)
      return { grants: await view(queryable, items, caller), nextCursor }
    })
    return c.json(page)
  })

  routes.get('/:sessionKey', async (c) => {
    const sessionKey = sessionKeyOf(c)
    const query = validQuery(c, selectionSchema)
    const caller = c.get('caller')
    const page = await asCaller(db, caller, async (queryable) => {
      const { items, nextCursor } = await select(queryable, sessionKey, query)
      return { grants: await view(queryable, items, caller), nextCursor }
    })
    return c.json({ sessionKey, ...page })
  })

  routes.post('/:sessionKey/freeze', (c) =>
    change(c, async (queryable, { grantId }, { asked: _, ...control }) => {
      if (!(await freezeGrant(queryable, { grantId, ...control }))) throw removed(grantId)
    }),
  )

  routes.post('/:sessionKey/unfreeze', (c) =>
    change(c, async (queryable, { grantId }, control) => {
      const { merchantId, asked } = control
      const holders = asked ? [asked] : merchantId === null ? holdersOfOperator : holdersOfMerchant
      if (await unfreezeGrant(queryable, { grantId, merchantId, holders })) return
      const own = (await listControls(queryable, { grantId })).find(
        (found) => found.merchantId === merchantId && found.state === 'removed',
      )
      if (own) throw removed(grantId)
    }),
  )

  routes.delete('/:sessionKey', (c) =>
    change(c, async (queryable, { grantId }, { asked: _, ...control }) => {
      await setControl(queryable, { grantId, state: 'removed', ...control })
    }),
  )

  routes.get('/:sessionKey/usage', async (c) => {
    const sessionKey = sessionKeyOf(c)
    const query = validQuery(c, selectionSchema)
    const caller = c.get('caller')
    const { views, channels, calls, nextCursor } = await asCaller(db, caller, async (queryable) => {
      const page = await select(queryable, sessionKey, query)
      const ids = page.items.map((grant) => grant.grantId)
      const open: Channel[] = []
      for (const id of ids) open.push(...(await listChannels(queryable, id)))
      const [found, counted] = [await view(queryable, page.items, caller), await callsOfGrants(queryable, ids)]
      return { views: found, channels: open, calls: counted, nextCursor: page.nextCursor }
    })
    const grants = await Promise.all(
      views.map(async ({ grantId, account, status }) => {
        const live = await readLive(account, grantId)
        const own = channels.filter((channel) => channel.grantId === grantId)
        return {
          grantId,
          account,
          status,
          channels: own.map((channel) => ({
            ...usageOf(channel, live),
            calls: calls.find((row) => row.grantId === grantId && row.payee === channel.payee)?.calls ?? 0,
          })),
        }
      }),
    )
    return c.json({ sessionKey, grants, nextCursor })
  })

  /** Changes the caller's control of the selected grants, all or none, then the meter. */
  async function change(
    c: RouteContext,
    apply: (
      queryable: Queryable,
      grant: Grant,
      control: Pick<GrantControl, 'merchantId' | 'holder' | 'reason' | 'actor'> & { asked: Holder | undefined },
    ) => Promise<void>,
  ): Promise<Response> {
    const sessionKey = sessionKeyOf(c)
    const { grantId } = validQuery(c, grantQuerySchema)
    const { reason = 'by hand', holder: asked } = await validBody(c, holdSchema)
    const caller = c.get('caller')
    if (asked && caller.merchantId !== null) throw new ApiRefusal(...operatorRequired)
    const holder = asked ?? (caller.merchantId === null ? 'operator' : 'merchant')
    const grants = await asCaller(db, caller, async (queryable) => {
      const selected = await selectAll(queryable, sessionKey, grantId)
      for (const grant of selected) await apply(queryable, grant, { ...caller, holder, asked, reason })
      return view(queryable, await selectAll(queryable, sessionKey, grantId), caller)
    })
    const accounts = [...new Set(grants.map((grant) => grant.account))]
    const copied = await Promise.allSettled(accounts.map(mirrorAccount))
    const failed = copied.find((result) => result.status === 'rejected')
    if (failed) {
      logger.warn({ err: failed.reason, sessionKey }, 'a change of a session key has not reached the meter')
      return problem(503, 'meter.unavailable', 'The change is stored, but has not reached the meter.', {
        hint: 'It does as soon as the meter answers. Nothing has to be repeated.',
        headers: { 'retry-after': '1' },
      })
    }
    return c.json({ sessionKey, grants })
  }

  async function view(queryable: Queryable, grants: readonly Grant[], caller: Caller) {
    const controls: GrantControl[] = []
    for (const { grantId } of grants) controls.push(...(await listControls(queryable, { grantId })))
    const blockedPayees = await listBlockedPayees(
      queryable,
      grants.map(({ grantId }) => grantId),
    )
    const accounts = grants.map(({ account }) => account)
    const funds = await listAccountFunds(queryable, accounts, chain.token)
    return grants.map((grant) => {
      const own = funds.find(({ account }) => account === grant.account && grant.token === chain.token)
      return viewGrant(grant, { controls, funds: own, blockedPayees }, caller, tokenDecimals)
    })
  }

  /** What the meter says; undefined when it does not hold the grant or does not answer. */
  async function readLive(account: Address, grantId: Hex): Promise<GrantMeter | undefined> {
    try {
      return await meter.read(account, grantId)
    } catch (error) {
      if (error instanceof MeterUnavailableError) return undefined
      throw error
    }
  }

  /** `live` is what the meter says now; the rest is the journal's and the chain's, as Postgres has them. */
  function usageOf(channel: Channel, live: GrantMeter | undefined) {
    const { payee, cumulativeAmount, charged, settled, lastChargeAt } = channel
    const key = payee.toLowerCase()
    const now = Object.entries(live?.channels ?? {}).find(([other]) => other.toLowerCase() === key)?.[1]
    return {
      payee,
      merchantId: channel.merchantId,
      ...figures({ authorized: cumulativeAmount, charged, settled }),
      live: now ? figures(now) : null,
      lastChargeAt,
    }
  }

  function figures({ authorized, charged, settled }: { authorized: bigint; charged: bigint; settled: bigint }) {
    const amounts = { authorized, charged, settled, outstanding: charged > settled ? charged - settled : 0n }
    return Object.fromEntries(
      Object.entries(amounts).flatMap(([name, amount]) => [
        [name, formatAmount(amount, tokenDecimals)],
        [`${name}Atomic`, amount.toString()],
      ]),
    )
  }

  describeSessionKeys(routes, {
    registration: registrationSchema,
    list: listSchema,
    selection: selectionSchema,
    grantQuery: grantQuerySchema,
    hold: holdSchema,
  })
  return routes
}

function sessionKeyOf(c: Context<ApiEnv>): Address {
  return valid(z.strictObject({ sessionKey: addressSchema }), { sessionKey: c.req.param('sessionKey') }).sessionKey
}

/** A page of the grants of the key that the caller sees, or the one that was named. @throws ApiRefusal 404: none */
async function select(
  queryable: Queryable,
  sessionKey: Address,
  { grantId, ...page }: PageRequest & { grantId?: Hex | undefined },
): Promise<Page<Grant>> {
  if (grantId === undefined) {
    const found = await listGrants(queryable, { sessionKey, ...page })
    if (found.items.length > 0 || page.cursor !== undefined) return found
  } else {
    const grant = await getGrant(queryable, grantId)
    if (grant?.sessionKey === sessionKey) return { items: [grant], nextCursor: undefined }
  }
  throw new ApiRefusal(404, 'session_key.unknown', 'No grant of this session key is known to you.', {
    detail: `Session key: ${sessionKey}${grantId === undefined ? '' : `, grant: ${grantId}`}`,
    hint: 'Register it with POST /api/session-keys.',
  })
}

/** All of them. @throws ApiRefusal 404: none; 409: more than one request can change */
async function selectAll(queryable: Queryable, sessionKey: Address, grantId: Hex | undefined): Promise<Grant[]> {
  const grants: Grant[] = []
  let cursor: string | undefined
  do {
    const page = await select(queryable, sessionKey, { grantId, cursor, limit: 100 })
    grants.push(...page.items)
    cursor = page.nextCursor
    if (cursor !== undefined && grants.length >= maxGrantsPerChange) {
      throw new ApiRefusal(409, 'session_key.too_many_grants', 'The session key has too many grants for one request.', {
        detail: `Session key: ${sessionKey}, more than ${maxGrantsPerChange} grants. Nothing was changed.`,
        hint: 'Name them one by one with ?grantId=.',
      })
    }
  } while (cursor !== undefined)
  return grants
}

function removed(grantId: Hex): ApiRefusal {
  return new ApiRefusal(409, 'grant.removed', 'The grant was removed at this gateway, for good.', {
    detail: `Grant: ${grantId}`,
    hint: 'Ask the owner for a new grant; name another of this key with ?grantId=.',
  })
}
