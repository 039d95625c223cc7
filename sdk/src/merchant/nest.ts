import type { ServerResponse } from 'node:http'
import { type CanActivate, type ExecutionContext, HttpException } from '@nestjs/common'
import type { PBStream } from './PBStream.ts'
import { admitParsed, enter, type ParsedRequest } from './serveExpress.ts'

type NestResponse = { header(name: string, value: string): unknown; raw?: ServerResponse; hijack?(): unknown }

/**
 * A guard that charges each call of the handlers it stands before, on NestJS with Express or Fastify.
 *
 * A refusal is an `HttpException` with the gateway's problem, so that the application's filters see it. Guards do not see
 * answers; what is written to Node's response below them is watched instead, exceptions and streams included.
 *
 * @example
 * const stream = new PBStream({ apiKey, service: 'weather', ratePerCall: '0.01' })
 * UseGuards(createPaymentGuard(stream)) // as a decorator of a controller or one of its methods
 */
export function createPaymentGuard(stream: Pick<PBStream, 'charger'>): CanActivate {
  return {
    async canActivate(context: ExecutionContext): Promise<boolean> {
      const http = context.switchToHttp()
      const response = http.getResponse<NestResponse & ServerResponse>()
      const raw = response.raw ?? response
      const admission = await admitParsed(stream.charger, http.getRequest<ParsedRequest>())
      if (admission.kind === 'answer' && admission.answer.status >= 400 && !isKept(admission.answer.headers)) {
        const { status, headers, body } = admission.answer
        for (const [name, value] of headers) response.header(name, value)
        throw new HttpException(JSON.parse(new TextDecoder().decode(body)), status)
      }
      if (admission.kind === 'answer' || raw.destroyed) response.hijack?.()
      if (enter(admission, raw)) return true
      // The first answer was given again, byte by byte. Any verdict of a guard would write a second one.
      return new Promise(() => {})
    },
  }
}

/** An answer of the handler that is given again, whatever its status, carries its receipt. */
function isKept(headers: [string, string][]): boolean {
  return headers.some(([name]) => name === 'payment-response')
}
