import { type Db, newId, type Tx, withOwner } from '@protocolbanks/stream-db'
import { type Address, type Hex, reserveOf } from '@protocolbanks/stream-protocol'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import type { Freshness } from '../indexer/indexer.ts'
import type { Meter } from '../meter/meter.ts'
import type { OwnerSignIn } from '../owners/ownerSignIn.ts'
import type { Chain } from '../payment/chain.ts'
import type { ReceiptSigner } from '../payment/createReceiptSigner.ts'
import { problem } from '../problem.ts'
import { requestTraceId } from '../tracing/traceRequests.ts'
import { createAlertLinkRoutes } from './alertLinkRoutes.ts'
import { createAlertRoutes } from './alertRoutes.ts'
import { createApiKeyRoutes } from './apiKeyRoutes.ts'
import { apiProblem } from './apiProblem.ts'
import { auditRefusals } from './auditRefusals.ts'
import { createAuditRoutes } from './auditRoutes.ts'
import { type ApiEnv, asCaller, authenticate } from './caller.ts'
import { createCreditRoutes } from './creditRoutes.ts'
import { createGrantLimitRoutes, createOwnerLimitRoutes } from './grantLimitRoutes.ts'
import { createIncidentRoutes } from './incidentRoutes.ts'
import { createMerchantRoutes } from './merchantRoutes.ts'
import { createOpenApi, type DocumentedApp } from './openapi/createOpenApi.ts'
import { describeChain } from './openapi/operations/settlementOperations.ts'
import { createReferenceRoutes } from './openapi/referenceRoutes.ts'
import { createOwnerAlertRoutes } from './ownerAlertRoutes.ts'
import { authenticateOwnerSession, type OwnerEnv } from './ownerCaller.ts'
import { createOwnerRoutes } from './ownerRoutes.ts'
import { createOwnerSessionRoutes } from './ownerSessionRoutes.ts'
import { createReceiptRoutes } from './receiptRoutes.ts'
import { createReconciliationRoutes } from './reconciliationRoutes.ts'
import { idempotentRequests } from './requests/idempotentRequests.ts'
import { createRequestLimit, limitRequests } from './requests/limitRequests.ts'
import type { RequestCaller } from './requests/requestCaller.ts'
import { requestIdOf, requestIds } from './requests/requestIds.ts'
import { requireScope } from './requireScope.ts'
import { createRuleHoldRoutes } from './rules/ruleHoldRoutes.ts'
import { createRuleRoutes } from './rules/ruleRoutes.ts'
import { createServiceRoutes } from './serviceRoutes.ts'
import { createSessionKeyRoutes } from './sessionKeyRoutes.ts'
import { createSettlementRoutes } from './settlementRoutes.ts'
import { createTraceRoutes } from './traceRoutes.ts'
import { createUsageQuarantineRoutes } from './usageQuarantineRoutes.ts'
import { createUsageRoutes } from './usageRoutes.ts'
import type { WebhookCaller } from './webhookCaller.ts'
import { createWebhookRoutes, type WebhookRoutesDeps } from './webhookRoutes.ts'

export type ApiDeps = {
  db: Db
  meter: Pick<Meter, 'read' | 'peekUsage' | 'refuse' | 'exposureOf'>
  clock(): number
  logger: Logger
  /** The operator's first key, from the configuration; others are issued here. */
  operatorApiKey: string
  chain: Chain
  /** The charges API, which is mounted beside this one at `/api/charges`: one document says both. */
  charges: Pick<Hono, 'routes'>
  /** The least that a service may ask by x402's `exact`, base units; 1 by default. */
  minExactPrice?: bigint | undefined
  /** Requests of one API key, or of one owner's session, to this process; the operator's have ten times that. */
  requestsPerMinute?: number | undefined
  /** 6 by default, as USDC has. */
  tokenDecimals?: number | undefined
  /** Of the mirror of the chain. */
  freshness(): Freshness | undefined
  /** Copies an account from Postgres to the meter, now; see indexer/accountMirror.ts. */
  mirrorAccount(account: Address): Promise<boolean>
  /** The gateway's memory of services is out of date. */
  services: { invalidate(): void | Promise<void> }
  /** Why a merchant's service may not have this upstream; undefined when it may. See proxy/upstreamGuard.ts. */
  checkUpstream(upstream: string): Promise<string | undefined>
  webhooks: Pick<WebhookRoutesDeps<ApiEnv>, 'secrets' | 'checkUrl'>
  ownerSignIn: OwnerSignIn
  /** Signs receipts that are asked for again; without one they carry no signature. */
  receiptSigner?: ReceiptSigner | undefined
  /** The gateway stops: what streams has to end. */
  stopping: AbortSignal
  /** 24 bytes, for the terms of a new grant; random by default. */
  createSalt?: (() => Hex) | undefined
}

/**
 * The management API, to be mounted at `/api`. Everything needs an API key; a merchant's key sees and changes that
 * merchant's rows only, which Postgres enforces by row-level security. `/owners` and `/owner` need no key: there owners
 * sign in with their accounts, and see those accounts' rows. Refusals are RFC 9457 problems, listed in docs/errors.md.
 *
 * @example app.route('/api', createApi(deps))
 */
export function createApi(deps: ApiDeps): Hono {
  const { db, logger, clock, chain, freshness, tokenDecimals = 6, requestsPerMinute = 1_200 } = deps
  const requestLimit = createRequestLimit({ perMinute: requestsPerMinute, clock })
  const routes = new Hono<ApiEnv>()
  routes.use(auditRefusals({ db, logger }))
  routes.use(authenticate(db, deps.operatorApiKey))
  routes.use(noStore)
  routes.use(requireScope())
  routes.use(limitRequests(requestLimit, keyCaller))
  routes.use(idempotentRequests({ db, clock, logger, callerOf: keyCaller }))
  routes.get('/chain', (c) => {
    const { block, checkedAt } = freshness() ?? {}
    return c.json({
      ...chain,
      reserve: reserveOf(chain.module),
      block: block?.toString() ?? null,
      checkedAt: checkedAt === undefined ? null : new Date(checkedAt),
    })
  })
  describeChain(routes)
  routes.route('/merchants', createMerchantRoutes({ db }))
  routes.route('/merchants', createCreditRoutes({ ...deps, tokenDecimals }))
  routes.route('/api-keys', createApiKeyRoutes(deps))
  routes.route('/services', createServiceRoutes({ ...deps, tokenDecimals }))
  routes.route('/session-keys', createSessionKeyRoutes({ ...deps, tokenDecimals }))
  routes.route('/session-keys', createGrantLimitRoutes({ ...deps, tokenDecimals }))
  routes.route('/receipts', createReceiptRoutes<ApiEnv>({ ...deps, tokenDecimals, run: runAsKey }))
  routes.route('/settlements', createSettlementRoutes({ db, logger, tokenDecimals }))
  routes.route('/reconciliations', createReconciliationRoutes({ db }))
  routes.route('/audit', createAuditRoutes({ db }))
  routes.route('/traces', createTraceRoutes({ db, tokenDecimals }))
  routes.route('/usage', createUsageRoutes(deps))
  routes.route('/usage-quarantine', createUsageQuarantineRoutes({ db }))
  routes.route('/incidents', createIncidentRoutes<ApiEnv>({ ...deps, callerOf }))
  routes.route('/rules/holds', createRuleHoldRoutes(deps))
  routes.route('/rules', createRuleRoutes<ApiEnv>({ ...deps, tokenDecimals, callerOf }))
  routes.route('/webhooks', createWebhookRoutes<ApiEnv>({ ...deps, ...deps.webhooks, callerOf }))
  routes.route(
    '/alert-channels',
    createAlertRoutes<ApiEnv>({ ...deps, changes: deps.ownerSignIn.limits.change, callerOf }),
  )
  routes.all('*', unknownRoute)

  const owners = new Hono<OwnerEnv>()
  for (const path of ['/owners/*', '/owner/*'] as const) owners.use(path, noStore)
  owners.use('/owner/*', authenticateOwnerSession(deps))
  owners.use('/owner/*', limitRequests(requestLimit, ownerCaller))
  owners.use('/owner/*', idempotentRequests({ db, clock, logger, callerOf: ownerCaller }))
  owners.route('/owners', createOwnerSessionRoutes({ ...deps, signIn: deps.ownerSignIn }))
  owners.route('/owner', createOwnerRoutes({ ...deps, tokenDecimals, changes: deps.ownerSignIn.limits.change }))
  owners.route('/owner', createOwnerLimitRoutes({ ...deps, tokenDecimals, changes: deps.ownerSignIn.limits.change }))
  owners.route('/owner/receipts', createReceiptRoutes<OwnerEnv>({ ...deps, tokenDecimals, run: runAsOwner }))
  owners.route('/owner', createOwnerAlertRoutes({ ...deps, changes: deps.ownerSignIn.limits.change }))
  for (const path of ['/owners/*', '/owner/*'] as const) owners.all(path, unknownRoute)
  const { clientOf, limits } = deps.ownerSignIn
  owners.route('/alert-links', createAlertLinkRoutes({ ...deps, tokenDecimals, clientOf, limit: limits.client }))

  const api = new Hono()
  const documented: DocumentedApp[] = [
    { app: deps.charges, at: '/charges' },
    { app: api, at: '' },
  ]
  api.use(requestIds(() => newId('req')))
  api.route(
    '/',
    createReferenceRoutes(() => createOpenApi(documented, '/api')),
  )
  // Before the others, which let nobody in without an API key.
  api.route('/', owners)
  api.route('/', routes)
  api.onError((error, c) => {
    const known = apiProblem(error)
    if (known) return known
    const at = { method: c.req.method, route: c.req.path, requestId: requestIdOf(c), traceId: requestTraceId(c) }
    logger.error({ err: error, ...at }, 'a request of the management API failed')
    return problem(500, 'internal', 'Something went wrong on our side.', { hint: 'Tell the operator when it was.' })
  })
  return api

  function runAsKey<T>(c: Context<ApiEnv>, work: (tx: Tx) => Promise<T>): Promise<T> {
    return asCaller(db, c.get('caller'), work)
  }

  function runAsOwner<T>(c: Context<OwnerEnv>, work: (tx: Tx) => Promise<T>): Promise<T> {
    return withOwner(db, c.get('owner').account, work)
  }

  function callerOf(c: Context<ApiEnv>): WebhookCaller {
    const caller = c.get('caller')
    const audience = caller.merchantId === null ? 'operator' : 'merchant'
    return { ...caller, audience, account: null, run: (work) => asCaller(db, caller, work) }
  }
}

function keyCaller(c: Context<ApiEnv>): RequestCaller {
  const { actor, merchantId } = c.get('caller')
  return { id: actor, holder: merchantId ?? actor, actor, isOperator: merchantId === null }
}

function ownerCaller(c: Context<OwnerEnv>): RequestCaller {
  const { id, account, actor } = c.get('owner')
  return { id, holder: account, actor, isOperator: false }
}

const noStore: MiddlewareHandler = async (c, next) => {
  await next()
  if (!c.res.headers.has('cache-control')) c.res.headers.set('cache-control', 'no-store')
}

function unknownRoute(): Response {
  return problem(404, 'route.unknown', 'The management API has no such route.')
}
