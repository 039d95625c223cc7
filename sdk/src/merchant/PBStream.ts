import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ChargesTransport } from '@protocolbanks/stream-protocol'
import type { Context, Next } from 'hono'
import type { Charger } from './charger.ts'
import { type ChargesClient, createChargesClient } from './chargesClient.ts'
import { createFetchTransport } from './chargesTransport.ts'
import { createKeptAnswers, type KeptAnswers } from './keptAnswers.ts'
import { InvalidMerchantOptionsError, InvalidReportError } from './merchantErrors.ts'
import { type Price, parsePrice } from './price.ts'
import { serveExpress } from './serveExpress.ts'
import { type FastifyReplyLike, type FastifyRequestLike, serveFastify } from './serveFastify.ts'
import { serveHono } from './serveHono.ts'
import { type NestContextLike, serveNest } from './serveNest.ts'
import { type RouteHandler, serveRoute } from './serveRoute.ts'

export type PBStreamOptions = {
  /** Of the merchant, from the gateway's management API. A self-hosted gateway's `connection` brings its own. */
  apiKey: string
  /** Name of the priced service. */
  service: string
  /** Price of one call in the token's units, e.g. `'0.01'`. */
  ratePerCall?: string | undefined
  /** In the place of `ratePerCall`: any price, by use or by request too. */
  price?: Price | undefined
  gatewayUrl?: string | undefined
  /** Of the token. 6, as USDC, by default. */
  decimals?: number | undefined
  /** Each call to the gateway is given up after this long, 5 s by default; settling by `exact` after as long as the gateway says. */
  timeoutMs?: number | undefined
  /** How long a stream waits for its next voucher before it is cut. 10 s by default. */
  voucherGraceMs?: number | undefined
  /** Told what no answer tells: a refused API key, a release that failed. Warns on the console by default. */
  onError?: ((error: Error) => void) | undefined
  /** What asks the gateway; the global `fetch` by default. */
  fetch?: typeof fetch | undefined
  /** In the place of `fetch`: what reaches a gateway in this very process. Its `connection` brings it. */
  transport?: ChargesTransport | undefined
  /** Where answers are kept for retries: in this process, 16 MiB for ten minutes, by default. */
  answers?: KeptAnswers | undefined
}

const keptBytes = 16 * 1024 * 1024
/** As long as a request id is remembered at least. */
const keptMs = 600_000
const retryWaitMs = 10_000

/** One function that Hono and Express both accept. */
export type StreamMiddleware = {
  (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void): void
  (c: Context, next: Next): Promise<Response | undefined>
}

export const defaultGatewayUrl = 'https://gateway.protocolbanks.com'

/**
 * Charges each call of a merchant's own server: through a gateway elsewhere, with nothing else to run, or through one in
 * the same process.
 *
 * A call without a good payment is answered 402 and never reaches the handler. One whose handler fails (status 500 or
 * above, or a throw) is not charged. When the gateway cannot be reached, calls are answered 503, not served for free.
 * A call that is made again because its answer was lost gets the first answer, free of charge.
 *
 * What is priced by use holds its maximum before the handler runs, and is charged what it used.
 *
 * A service with an `exactPrice` is paid by any x402 client too: the transfer is made between the handler and its answer, which
 * waits for it, and not at all for a status of 400 or above.
 *
 * @example
 * const stream = new PBStream({ apiKey, service: 'weather', ratePerCall: '0.01' })
 * app.use('/weather', stream.middleware()) // Hono or Express
 * fastify.get('/weather/:city', { preHandler: stream.fastify() }, handler)
 * export const GET = stream.route(handler) // Next.js
 * UseGuards(stream.guard()) // NestJS, as a decorator
 */
export class PBStream {
  /** What the adapters of frameworks charge with. */
  readonly charger: Charger

  /** @throws InvalidAmountError, InvalidMerchantOptionsError */
  constructor(options: PBStreamOptions) {
    const { service, ratePerCall, decimals = 6, voucherGraceMs = 10_000 } = options
    if (!service) throw new InvalidMerchantOptionsError('service is empty.')
    const price = options.price ?? ratePerCall
    if (price === undefined || (options.price !== undefined && ratePerCall !== undefined)) {
      throw new InvalidMerchantOptionsError('Either price or ratePerCall has to be set.')
    }
    const onError = options.onError ?? ((error) => console.warn(`PBStream: ${error.message}`))
    this.charger = {
      client: clientOf(options, onError),
      service,
      priceOf: parsePrice(price, decimals),
      answers: options.answers ?? createKeptAnswers({ maxBytes: keptBytes, ttlMs: keptMs, clock: Date.now }),
      open: new Map(),
      retryWaitMs,
      metered: new WeakMap(),
      graceMs: voucherGraceMs,
      vouchers: new Map(),
      now: () => performance.now(),
      onError,
    }
  }

  /** For Hono and Express. */
  middleware(): StreamMiddleware {
    const { charger } = this
    function middleware(
      first: Context | IncomingMessage,
      second: Next | ServerResponse,
      next?: (error?: unknown) => void,
    ): Promise<Response | undefined> | undefined {
      // Express calls (req, res, next), Hono (context, next).
      if (next === undefined) return serveHono(charger, first as Context, second as Next)
      serveExpress(charger, first as IncomingMessage, second as ServerResponse, next).catch(next)
      return undefined
    }
    return middleware as StreamMiddleware
  }

  /** A `preHandler` hook for Fastify. */
  fastify(): (request: FastifyRequestLike, reply: FastifyReplyLike) => Promise<void> {
    return (request, reply) => serveFastify(this.charger, request, reply)
  }

  /** A guard for NestJS, for `UseGuards`. */
  guard(): { canActivate(context: NestContextLike): Promise<boolean> } {
    return { canActivate: (context) => serveNest(this.charger, context) }
  }

  /**
   * Counts units of a call whose price is by unit; those of several reports are added up. A good answer for which
   * nothing is reported, not even 0, costs the maximum.
   *
   * @param request What the handler got: the request of Express, Fastify and NestJS, Hono's context, the Request of a route.
   * @param units A number or a decimal string, with at most six digits after the point.
   * @throws InvalidReportError
   */
  report(request: object, units: number | string): void {
    const metered = this.charger.metered.get(request)
    if (!metered) throw new InvalidReportError('This request was not charged here, or its price is fixed.')
    metered.report(units)
  }

  /** A paid handler of the Fetch standard, as Next.js' route handlers are. */
  route<request extends Request, rest extends unknown[]>(
    handler: RouteHandler<request, rest>,
  ): (request: request, ...rest: rest) => Promise<Response> {
    return (request, ...rest) => serveRoute(this.charger, handler, request, rest)
  }
}

function clientOf(options: PBStreamOptions, onError: (error: Error) => void): ChargesClient {
  const { apiKey, gatewayUrl = defaultGatewayUrl, timeoutMs = 5_000 } = options
  if (!apiKey) throw new InvalidMerchantOptionsError('apiKey is empty.')
  if (!/^https?:\/\//.test(gatewayUrl) || !URL.canParse(gatewayUrl)) {
    throw new InvalidMerchantOptionsError(`gatewayUrl is ${JSON.stringify(gatewayUrl)}, not an http(s) URL.`)
  }
  const chargesUrl = `${gatewayUrl.replace(/\/+$/, '')}/api/charges`
  const send: typeof fetch = options.fetch ?? ((input, init) => fetch(input, init))
  const transport = options.transport ?? createFetchTransport({ chargesUrl, apiKey, fetch: send })
  return createChargesClient({ transport, chargesUrl, timeoutMs, onError })
}
