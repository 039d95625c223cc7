import { Hono } from 'hono'
import type { Registry } from 'prom-client'

export type StatusDeps = {
  /** One entry per dependency: 'ok' or what is wrong with it. */
  readiness(): Promise<Record<string, string>>
  /** What the operator should know besides, which does not make the service unready. */
  notes?: (() => Record<string, string>) | undefined
  registry: Registry
}

/**
 * What every service answers to its operator: `GET /health` (the process runs), `GET /ready` (200 when everything it
 * stands on answers, else 503 with what is wrong), `GET /metrics` (Prometheus).
 *
 * @example app.route('/', createStatusApp({ readiness, registry }))
 */
export function createStatusApp({ readiness, notes, registry }: StatusDeps): Hono {
  const app = new Hono()
  app.get('/health', (c) => c.json({ status: 'ok' }))
  app.get('/ready', async (c) => {
    const checks = await readiness()
    const ready = Object.values(checks).every((check) => check === 'ok')
    return c.json(
      { status: ready ? 'ready' : 'not ready', checks, ...(notes && { notes: notes() }) },
      ready ? 200 : 503,
    )
  })
  app.get('/metrics', async (c) => c.text(await registry.metrics(), 200, { 'content-type': registry.contentType }))
  return app
}
