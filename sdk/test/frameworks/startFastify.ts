import { Readable } from 'node:stream'
import fastify from 'fastify'
import { PBStream } from '../../src/index.ts'
import { askBehaviour, eventsOf, options, type StartMerchant } from './behaviour.ts'

export const startFastify: StartMerchant = async ({ gatewayUrl, controlUrl }) => {
  const stream = new PBStream({ ...options, gatewayUrl })
  const app = fastify({ forceCloseConnections: true })
  app.all('/paid/*', { preHandler: stream.fastify() }, async (request, reply) => {
    const behaviour = await askBehaviour(controlUrl, request.url, request.body)
    if (behaviour.kind === 'throw') throw new Error(behaviour.message)
    if (behaviour.kind === 'answer') return reply.code(behaviour.status).send(behaviour.body)
    return reply.type('text/event-stream').send(Readable.from(eventsOf(behaviour)))
  })
  return { url: await app.listen({ host: '127.0.0.1', port: 0 }), close: () => app.close() }
}
