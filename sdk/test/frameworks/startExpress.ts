import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import express, { type NextFunction, type Request, type Response } from 'express'
import { PBStream } from '../../src/index.ts'
import { askBehaviour, eventsOf, options, type StartMerchant } from './behaviour.ts'

export const startExpress: StartMerchant = async ({ gatewayUrl, controlUrl }) => {
  const stream = new PBStream({ ...options, gatewayUrl })
  const app = express()
  app.use(express.json())
  app.use('/paid', stream.middleware())
  app.use('/paid', async (req, res) => {
    const behaviour = await askBehaviour(controlUrl, req.originalUrl, req.body)
    if (behaviour.kind === 'throw') throw new Error(behaviour.message)
    if (behaviour.kind === 'answer') return void res.status(behaviour.status).json(behaviour.body)
    res.type('text/event-stream')
    const source = Readable.from(eventsOf(behaviour))
    source.on('error', (error) => res.destroy(error))
    res.on('close', () => source.destroy())
    source.pipe(res)
  })
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
