import 'reflect-metadata'
import { Readable } from 'node:stream'
import {
  All,
  Controller,
  HttpException,
  type INestApplication,
  Module,
  Req,
  Res,
  StreamableFile,
  UseGuards,
} from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { ExpressAdapter } from '@nestjs/platform-express'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import type { PBStream } from '../../src/index.ts'
import { askBehaviour, createStreams, eventsOf, type StartMerchant } from './behaviour.ts'

type Request = { originalUrl: string; body?: unknown }
type Response = { status(code: number): unknown }

function createController(prefix: string, stream: PBStream, controlUrl: string) {
  class Paid {
    async serve(request: Request, response: Response) {
      const behaviour = await askBehaviour(controlUrl, request.originalUrl, request.body)
      if (behaviour.kind === 'throw') throw new Error(behaviour.message)
      if (behaviour.kind === 'stream') {
        const events = eventsOf(behaviour, (units) => stream.report(request, units))
        return new StreamableFile(Readable.from(events), { type: 'text/event-stream' })
      }
      if (behaviour.units !== undefined) stream.report(request, behaviour.units)
      if (behaviour.status >= 400) throw new HttpException(behaviour.body as object, behaviour.status)
      response.status(behaviour.status)
      return behaviour.body
    }
  }
  // As decorators do it: the syntax needs a compiler option that only applications with NestJS set.
  const descriptor = Object.getOwnPropertyDescriptor(Paid.prototype, 'serve') ?? {}
  All(':path')(Paid.prototype, 'serve', descriptor)
  UseGuards(stream.guard())(Paid.prototype, 'serve', descriptor)
  Req()(Paid.prototype, 'serve', 0)
  Res({ passthrough: true })(Paid.prototype, 'serve', 1)
  Controller(prefix)(Paid)
  return Paid
}

function startNest(createAdapter: () => ExpressAdapter | FastifyAdapter): StartMerchant {
  return async ({ gatewayUrl, controlUrl }) => {
    class App {}
    const streams = createStreams(gatewayUrl)
    Module({ controllers: streams.map(([prefix, stream]) => createController(prefix, stream, controlUrl)) })(App)

    const app: INestApplication = await NestFactory.create(App, createAdapter(), {
      logger: false,
      forceCloseConnections: true,
    })
    await app.listen(0, '127.0.0.1')
    return { url: await app.getUrl(), close: () => app.close() }
  }
}

export const startNestOnExpress = startNest(() => new ExpressAdapter())
export const startNestOnFastify = startNest(() => new FastifyAdapter({ forceCloseConnections: true }))
