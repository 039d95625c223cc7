import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { askBehaviour, createStreams, eventsOf, type StartMerchant } from './behaviour.ts'

export const startHono: StartMerchant = async ({ gatewayUrl, controlUrl }) => {
  const app = new Hono()
  for (const [prefix, stream] of createStreams(gatewayUrl)) {
    app.use(`/${prefix}/*`, stream.middleware())
    app.all(`/${prefix}/*`, async (c) => {
      const text = await c.req.text()
      const behaviour = await askBehaviour(controlUrl, c.req.path, text === '' ? undefined : JSON.parse(text))
      if (behaviour.kind === 'throw') throw new Error(behaviour.message)
      if (behaviour.kind === 'answer') {
        if (behaviour.units !== undefined) stream.report(c, behaviour.units)
        return c.json(behaviour.body as object, behaviour.status as 200)
      }
      const body = ReadableStream.from(eventsOf(behaviour, (units) => stream.report(c, units)))
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
    })
  }
  app.onError((error, c) => c.text(error.message, 500))
  return new Promise((resolve) => {
    const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) =>
      resolve({
        url: `http://127.0.0.1:${port}`,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed())
            if ('closeAllConnections' in server) server.closeAllConnections()
          }),
      }),
    )
  })
}
