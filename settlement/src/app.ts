import { Hono } from 'hono'
import type { Registry } from 'prom-client'

export type AppDeps = {
  /** One entry per dependency: 'ok' or what is wrong with it. */
  readiness(): Promise<Record<string, string>>
  registry: Registry
}

/** `/health`, `/ready` and `/metrics`: a worker has nothing else to serve. */
export function createApp({ readiness, registry }: AppDeps): Hono {
  const app = new Hono()
  app.get('/health', (c) => c.json({ status: 'ok' }))
  app.get('/ready', async (c) => {
    const checks = await readiness()
    const ready = Object.values(checks).every((check) => check === 'ok')
    return c.json({ status: ready ? 'ready' : 'not ready', checks }, ready ? 200 : 503)
  })
  app.get('/metrics', async (c) => c.text(await registry.metrics(), 200, { 'content-type': registry.contentType }))
  return app
}
