import type { IncomingMessage, ServerResponse } from 'node:http'
import { BaseError, parseAmount } from '@protocolbanks/stream-protocol'
import type { Context, Next } from 'hono'
import type { Charger } from './charger.ts'
import { createChargesClient } from './chargesClient.ts'
import { serveExpress } from './serveExpress.ts'
import { serveHono } from './serveHono.ts'

export type PBStreamOptions = {
  /** Of the merchant, from the gateway's management API. */
  apiKey: string
  /** Id of the priced service. */
  service: string
  /** Price of one call in the token's units, e.g. `'0.01'`. */
  ratePerCall: string
  gatewayUrl?: string | undefined
  /** Of the token. 6, as USDC, by default. */
  decimals?: number | undefined
  /** Each call to the gateway is given up after this long. 5 s by default. */
  timeoutMs?: number | undefined
  /** Told what no answer tells: a refused API key, a release that failed. Warns on the console by default. */
  onError?: ((error: Error) => void) | undefined
  fetch?: typeof fetch | undefined
}

/** One function that Hono and Express both accept. */
export type StreamMiddleware = {
  (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void): void
  (c: Context, next: Next): Promise<Response | undefined>
}

export const defaultGatewayUrl = 'https://gateway.protocolbanks.com'

/**
 * Charges each call of a merchant's own server through a gateway. There is nothing else to run.
 *
 * A call without a good payment is answered 402 and never reaches the handler. One whose handler fails (status 500 or
 * above, or a throw) is not charged. When the gateway cannot be reached, calls are answered 503, not served for free.
 *
 * @example
 * const stream = new PBStream({ apiKey, service: 'weather', ratePerCall: '0.01' })
 * app.use('/weather', stream.middleware()) // Hono or Express
 */
export class PBStream {
  readonly #charger: Charger

  /** @throws InvalidAmountError, InvalidMerchantOptionsError */
  constructor(options: PBStreamOptions) {
    const { apiKey, service, ratePerCall, gatewayUrl = defaultGatewayUrl, decimals = 6, timeoutMs = 5_000 } = options
    if (!apiKey) throw new InvalidMerchantOptionsError('apiKey is empty.')
    if (!service) throw new InvalidMerchantOptionsError('service is empty.')
    if (!/^https?:\/\//.test(gatewayUrl) || !URL.canParse(gatewayUrl)) {
      throw new InvalidMerchantOptionsError(`gatewayUrl is ${JSON.stringify(gatewayUrl)}, not an http(s) URL.`)
    }
    const client = createChargesClient({
      gatewayUrl,
      apiKey,
      timeoutMs,
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      onError: options.onError ?? ((error) => console.warn(`PBStream: ${error.message}`)),
    })
    this.#charger = { client, service, amountAtomic: parseAmount(ratePerCall, decimals) }
  }

  middleware(): StreamMiddleware {
    const charger = this.#charger
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
}

export class InvalidMerchantOptionsError extends BaseError {
  override readonly code = 'merchant.options_invalid'
  constructor(reason: string) {
    super('The options of PBStream are not usable.', {
      metaMessages: [reason],
      docsPath: '/errors#merchant-options-invalid',
    })
  }
}
