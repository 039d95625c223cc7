import { receiptKeysPath } from '@protocolbanks/stream-protocol'
import { createStatusApp, type StatusDeps } from '@protocolbanks/stream-runtime'
import { type ErrorHandler, type Handler, Hono, type MiddlewareHandler } from 'hono'
import { getPath } from 'hono/utils/url'
import type { Logger } from 'pino'
import { ApiRefusal } from './api/apiProblem.ts'
import { discoveryPath } from './discovery/createDiscoveryRoute.ts'
import type { createChargesApi } from './payment/chargesApi.ts'
import { crossOrigin, originsOnly } from './payment/crossOrigin.ts'
import { problem } from './problem.ts'
import { type RequestTrace, requestTraceId } from './tracing/traceRequests.ts'
import { unavailableProblem } from './unavailable.ts'

export type AppDeps = StatusDeps & {
  /** Management API, mounted at /api. */
  api: Hono
  /** Payment for services that merchants serve themselves, mounted at /api/charges. */
  charges: ReturnType<typeof createChargesApi>
  /** x402's facilitator, mounted at /facilitator; undefined: there is none. */
  facilitator?: Hono | undefined
  /** The public keys of receipts; undefined: there are none to publish. */
  receiptKeys?: Handler | undefined
  /** What can be paid for; undefined: nobody is told. */
  discovery?: Handler | undefined
  /** In front of every other path. */
  payment: MiddlewareHandler
  proxy: Handler
  /** Pages that owners sign in at. */
  ownerOrigins: readonly string[]
  /** In front of everything that is not for the operator's tools. */
  trace: MiddlewareHandler
  logger: Logger
}

type AppEnv = { Variables: { trace?: RequestTrace } }

/**
 * Every route of the gateway. What is not /api, /health, /ready or /metrics is looked up among the services; a path that
 * begins as no route of ours does is not looked up among ours at all, which costs a paid call a search in all of them.
 */
export function createApp({
  api,
  ownerOrigins,
  charges,
  facilitator,
  receiptKeys,
  discovery,
  payment,
  proxy,
  trace,
  readiness,
  notes,
  registry,
  logger,
}: AppDeps): Hono<AppEnv> {
  const app = new Hono<AppEnv>()
  app.route('/', createStatusApp({ readiness, notes, registry }))
  app.use(trace)
  app.use('/api/owner/*', originsOnly(ownerOrigins))
  app.route('/api/charges', charges)
  app.route('/api', api)
  if (facilitator) app.route('/facilitator', facilitator)
  if (receiptKeys) app.get(receiptKeysPath, receiptKeys)
  if (discovery) app.get(discoveryPath, discovery)
  app.all('*', crossOrigin, payment, proxy)

  const services = new Hono<AppEnv>()
  services.use(trace)
  services.all('*', crossOrigin, payment, proxy)

  const onError: ErrorHandler<AppEnv> = (error, c) => {
    if (error instanceof ApiRefusal) return error.response
    const unavailable = unavailableProblem(error)
    if (unavailable) return unavailable
    logger.error({ err: error, traceId: requestTraceId(c) }, 'request failed')
    return problem(500, 'internal', 'Something went wrong on our side.', {
      hint: 'Repeat the request with the same id.',
    })
  }
  app.onError(onError)
  services.onError(onError)

  const ours = new Set(app.routes.map(({ path }) => beginOf(path)))
  const whole = app.fetch
  app.fetch = (request, ...rest) => (ours.has(beginOf(getPath(request))) ? whole : services.fetch)(request, ...rest)
  return app
}

/** `/api` of `/api/merchants`. */
function beginOf(path: string): string {
  const end = path.indexOf('/', 1)
  return end === -1 ? path : path.slice(0, end)
}
