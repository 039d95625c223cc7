import {
  type Db,
  freezeAsOwner,
  type Grant,
  type GrantControl,
  getGrant,
  listAccountFunds,
  listChannels,
  listCharges,
  listControls,
  listGrants,
  listOwnerFreezes,
  type Tx,
  unfreezeAsOwner,
  withOwner,
} from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { type Context, Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { RateLimit } from '../owners/rateLimit.ts'
import { problem } from '../problem.ts'
import { askForChainFreeze } from './askForChainFreeze.ts'
import { writeRefusal } from './auditRefusals.ts'
import { holdsOfGrant } from './grantHolds.ts'
import { createIncidentRoutes } from './incidentRoutes.ts'
import { describeOwner } from './openapi/operations/grantOperations.ts'
import type { OwnerCaller, OwnerEnv } from './ownerCaller.ts'
import { viewOwnerChannel, viewOwnerCharge, viewOwnerGrant } from './ownerView.ts'
import { createRuleRoutes } from './rules/ruleRoutes.ts'
import { grantIdSchema, nameSchema, pageSchema } from './schemas.ts'
import { takeOne } from './takeOne.ts'
import { validBody, validQuery } from './validate.ts'
import { createVoucherPolicyRoutes } from './voucherPolicyRoutes.ts'
import type { WebhookCaller } from './webhookCaller.ts'
import { createWebhookRoutes, type WebhookRoutesDeps } from './webhookRoutes.ts'

export type OwnerRoutesDeps = {
  db: Db
  clock(): number
  logger: Logger
  chain: { token: Address; module: Address }
  tokenDecimals: number
  /** Copies an account from Postgres to the meter, now. */
  mirrorAccount(account: Address): Promise<boolean>
  webhooks: Pick<WebhookRoutesDeps<OwnerEnv>, 'secrets' | 'checkUrl'>
  /** Of what an account changes: each change is audited. */
  changes: RateLimit
}

const chargesSchema = pageSchema.extend({ grantId: grantIdSchema.optional() })
const reasonSchema = z.strictObject({ reason: nameSchema.optional() }).default({})
/** `onChain`: by the guardian as well. Only the account's own signature lifts that. */
const freezeSchema = z
  .strictObject({ reason: nameSchema.optional(), onChain: z.boolean().default(false) })
  .default({ onChain: false })

type Change = (tx: Tx, of: { account: Address; grantId: Hex; reason: string }) => Promise<boolean>

/**
 * What the owner of an account sees and may do: the grants of this account, what was charged under them, freezes, and
 * webhooks. Every query runs as `stream_owner`, whom Postgres shows one account's rows.
 */
export function createOwnerRoutes(deps: OwnerRoutesDeps): Hono<OwnerEnv> {
  const { db, clock, logger, chain, tokenDecimals, mirrorAccount } = deps
  const routes = new Hono<OwnerEnv>()

  routes.get('/session', (c) => {
    const { id, account, expiresAt } = c.get('owner')
    return c.json({ id, account, expiresAt })
  })

  routes.get('/grants', async (c) => {
    const page = validQuery(c, pageSchema)
    const { account } = c.get('owner')
    const answer = await withOwner(db, account, async (tx) => {
      const { items, nextCursor } = await listGrants(tx, { ...page, account })
      return { grants: await view(tx, items), nextCursor }
    })
    return c.json(answer)
  })

  routes.get('/grants/:id', async (c) => {
    const grantId = grantIdOf(c)
    const answer = grantId && (await withOwner(db, c.get('owner').account, (tx) => viewOne(tx, grantId)))
    return answer ? c.json(answer) : unknownGrant(c.req.param('id'))
  })

  routes.post('/grants/:id/freeze', async (c) => {
    const { onChain, reason = 'by hand' } = await validBody(c, freezeSchema)
    const { account } = c.get('owner')
    return change(c, 'owner_freeze', reason, freezeAsOwner, async (grantId) => {
      if (!onChain) return {}
      const { id } = await askForChainFreeze(db, { grantId, account, reason, now: new Date(clock()) })
      return { incidentId: id }
    })
  })
  routes.post('/grants/:id/unfreeze', async (c) => {
    const { reason = 'by hand' } = await validBody(c, reasonSchema)
    return change(c, 'owner_unfreeze', reason, unfreezeAsOwner, async () => ({}))
  })

  routes.get('/charges', async (c) => {
    const filter = validQuery(c, chargesSchema)
    const { account } = c.get('owner')
    const { items, nextCursor } = await withOwner(db, account, (tx) => listCharges(tx, { ...filter, account }))
    return c.json({ charges: items.map((charge) => viewOwnerCharge(charge, tokenDecimals)), nextCursor })
  })

  const callerOf = (c: Context<OwnerEnv>) => webhookCallerOf(db, c.get('owner'))
  routes.route('/', createVoucherPolicyRoutes(deps))
  const beforeChange = (c: Context<OwnerEnv>) => takeOne(deps.changes, c.get('owner').account)
  routes.use('/webhooks/*', async (c, next) => {
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD') beforeChange(c)
    return next()
  })
  routes.route('/webhooks', createWebhookRoutes<OwnerEnv>({ db, clock, logger, callerOf, ...deps.webhooks }))
  routes.route('/incidents', createIncidentRoutes<OwnerEnv>({ db, clock, callerOf, beforeChange }))
  routes.route('/rules', createRuleRoutes<OwnerEnv>({ db, clock, tokenDecimals, callerOf, beforeChange }))

  /** Changes the owner's own freeze, then the meter. What `then` answers is part of the answer. */
  async function change(
    c: Context<OwnerEnv, '/grants/:id/freeze'>,
    action: string,
    reason: string,
    apply: Change,
    then: (grantId: Hex) => Promise<object>,
  ): Promise<Response> {
    const { account, actor } = c.get('owner')
    takeOne(deps.changes, account)
    const grantId = grantIdOf(c)
    const answer =
      grantId &&
      (await withOwner(db, account, async (tx) => {
        await apply(tx, { account, grantId, reason })
        return viewOne(tx, grantId)
      }))
    if (!answer) {
      const subject = c.req.param('id')
      await writeRefusal({ db, logger }, { actor, action, subject, errorCode: 'grant.unknown' })
      return unknownGrant(subject)
    }
    const more = grantId ? await then(grantId) : {}
    try {
      await mirrorAccount(account)
    } catch (err) {
      logger.warn({ err, account, grantId }, "an owner's change has not reached the meter")
      return problem(503, 'meter.unavailable', 'The change is stored, but has not reached the meter.', {
        hint: 'It does as soon as the meter answers. Nothing has to be repeated.',
        headers: { 'retry-after': '1' },
      })
    }
    return c.json({ ...answer, ...more })
  }

  async function viewOne(tx: Tx, grantId: Hex) {
    const grant = await getGrant(tx, grantId)
    const [shown] = grant ? await view(tx, [grant]) : []
    const channels = await listChannels(tx, grantId)
    const holds = grant && (await readHolds(tx, grant))
    return (
      shown && { ...shown, ...holds, channels: channels.map((channel) => viewOwnerChannel(channel, tokenDecimals)) }
    )
  }

  async function readHolds(tx: Tx, grant: Grant) {
    const { grantId, account, token } = grant
    const controls = await listControls(tx, { grantId })
    const freezes = await listOwnerFreezes(tx, [grantId])
    const [funds] = await listAccountFunds(tx, [account], token)
    const isAccountFrozen = funds?.accountFrozen ?? false
    return holdsOfGrant(grant, { controls, freezes, isAccountFrozen, module: chain.module })
  }

  async function view(tx: Tx, grants: readonly Grant[]) {
    const controls: GrantControl[] = []
    for (const { grantId } of grants) controls.push(...(await listControls(tx, { grantId })))
    const ids = grants.map(({ grantId }) => grantId)
    const freezes = await listOwnerFreezes(tx, ids)
    const accounts = grants.map(({ account }) => account)
    const [funds] = await listAccountFunds(tx, accounts, chain.token)
    return grants.map((grant) =>
      viewOwnerGrant(
        grant,
        { controls, freezes, funds: grant.token === chain.token ? funds : undefined },
        tokenDecimals,
      ),
    )
  }

  describeOwner(routes, { page: pageSchema, charges: chargesSchema, freeze: freezeSchema, unfreeze: reasonSchema })
  return routes
}

function webhookCallerOf(db: Db, { account, actor }: OwnerCaller): WebhookCaller {
  return { audience: 'owner', merchantId: null, account, actor, run: (work) => withOwner(db, account, work) }
}

function grantIdOf(c: Context<OwnerEnv, '/grants/:id'>): Hex | undefined {
  const parsed = grantIdSchema.safeParse(c.req.param('id'))
  return parsed.success ? parsed.data : undefined
}

function unknownGrant(id: string): Response {
  return problem(404, 'grant.unknown', 'There is no such grant of your account.', {
    detail: `Grant: ${id.slice(0, 80)}`,
  })
}
