import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import express, { type NextFunction, type Request, type Response } from 'express'
import { askBehaviour, createStreams, eventsOf, type StartMerchant } from './behaviour.ts'

export const startExpress: StartMerchant = async ({ gatewayUrl, controlUrl }) => {
  const app = express()
  app.use(express.json())
  for (const [prefix, stream] of createStreams(gatewayUrl)) {
    app.use(`/${prefix}`, stream.middleware())
    app.use(`/${prefix}`, async (req, res) => {
      const behaviour = await askBehaviour(controlUrl, req.originalUrl, req.body)
      if (behaviour.kind === 'throw') throw new Error(behaviour.message)
      if (behaviour.kind === 'answer') {
        if (behaviour.units !== undefined) stream.report(req, behaviour.units)
        return void res.status(behaviour.status).json(behaviour.body)
      }
      res.type('text/event-stream')
      const source = Readable.from(eventsOf(behaviour, (units) => stream.report(req, units)))
      source.on('error', (error) => res.destroy(error))
      res.on('close', () => source.destroy())
      source.pipe(res)
    })
  }
  app.use((error: Error, _: Request, res: Response, __: NextFunction) => void res.status(500).send(error.message))
  const server = app.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
