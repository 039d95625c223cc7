import { Readable } from 'node:stream'
import fastify from 'fastify'
import { askBehaviour, createStreams, eventsOf, type StartMerchant } from './behaviour.ts'

export const startFastify: StartMerchant = async ({ gatewayUrl, controlUrl }) => {
  const app = fastify({ forceCloseConnections: true })
  for (const [prefix, stream] of createStreams(gatewayUrl)) {
    app.all(`/${prefix}/*`, { preHandler: stream.fastify() }, async (request, reply) => {
      const behaviour = await askBehaviour(controlUrl, request.url, request.body)
      if (behaviour.kind === 'throw') throw new Error(behaviour.message)
      if (behaviour.kind === 'answer') {
        if (behaviour.units !== undefined) stream.report(request, behaviour.units)
        return reply.code(behaviour.status).send(behaviour.body)
      }
      const events = eventsOf(behaviour, (units) => stream.report(request, units))
      return reply.type('text/event-stream').send(Readable.from(events))
    })
  }
  return { url: await app.listen({ host: '127.0.0.1', port: 0 }), close: () => app.close() }
}
