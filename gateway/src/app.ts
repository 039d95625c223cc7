import { type Handler, Hono, type MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { createChargesApi } from './payment/chargesApi.ts'
import { problem } from './problem.ts'
import { unavailableProblem } from './unavailable.ts'

export type AppDeps = {
  /** Management API, mounted at /api. */
  api: Hono
  /** Payment for services that merchants serve themselves, mounted at /api/charges. */
  charges: ReturnType<typeof createChargesApi>
  /** In front of every other path. */
  payment: MiddlewareHandler
  proxy: Handler
  /** One entry per dependency: 'ok' or what is wrong with it. */
  readiness(): Promise<Record<string, string>>
  registry: Registry
  logger: Logger
}

/** Every route of the gateway. What is not /api, /health, /ready or /metrics is looked up among the services. */
export function createApp({ api, charges, payment, proxy, readiness, registry, logger }: AppDeps): Hono {
  const app = new Hono()
  app.get('/health', (c) => c.json({ status: 'ok' }))
  app.get('/ready', async (c) => {
    const checks = await readiness()
    const ready = Object.values(checks).every((check) => check === 'ok')
    return c.json({ status: ready ? 'ready' : 'not ready', checks }, ready ? 200 : 503)
  })
  app.get('/metrics', async (c) => c.text(await registry.metrics(), 200, { 'content-type': registry.contentType }))
  app.route('/api/charges', charges)
  app.route('/api', api)
  app.all('*', payment, proxy)
  app.onError((error) => {
    const unavailable = unavailableProblem(error)
    if (unavailable) return unavailable
    logger.error({ err: error }, 'request failed')
    return problem(500, 'internal', 'Something went wrong on our side.', {
      hint: 'Repeat the request with the same id.',
    })
  })
  return app
}
