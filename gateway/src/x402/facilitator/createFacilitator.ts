import { BaseError } from '@protocolbanks/stream-protocol'
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { apiProblem } from '../../api/apiProblem.ts'
import { validBody } from '../../api/validate.ts'
import type { RateLimit } from '../../owners/rateLimit.ts'
import { type Chain, networkOf } from '../../payment/chain.ts'
import type { ReceiptSigner } from '../../payment/createReceiptSigner.ts'
import { signReceipt } from '../../payment/createReceiptWriter.ts'
import { problem } from '../../problem.ts'
import { unavailableProblem } from '../../unavailable.ts'
import type { FacilitatorCaller, FacilitatorScheme } from './facilitatorScheme.ts'
import { nameInV1, readFacilitatorRequest } from './readRequest.ts'

export type FacilitatorOptions = {
  chain: Chain
  schemes: readonly FacilitatorScheme[]
  /** Who settles on the chain; undefined: nobody. */
  relayer: string | undefined
  /** `keys`: an API key is needed. `open`: none, but the key's merchant counts where one is sent. */
  access: 'keys' | 'open'
  /** Whose an API key is; undefined when it is none. */
  callerOf(authorization: string | undefined): Promise<FacilitatorCaller | undefined>
  /** Names the client at the other end, for the limit of those without a key. */
  clientOf(c: Context): string
  limit: RateLimit
  /** Signs what was settled; without one it carries no signature. */
  receiptSigner?: Pick<ReceiptSigner, 'sign'> | undefined
  /** Requests that are worked on at once; more are told to come again. */
  maxAtOnce: number
}

/**
 * The facilitator API of x402, of both versions, to be mounted at `/facilitator`: servers elsewhere have payments verified
 * and settled here, with x402's own HTTPFacilitatorClient.
 */
export function createFacilitator(options: FacilitatorOptions): Hono {
  const { chain, schemes } = options
  let running = 0
  const app = new Hono()

  app.get('/supported', (c) => {
    const network = networkOf(chain)
    const usable = schemes.flatMap(({ scheme, supported }) => {
      const found = supported()
      return found ? [{ scheme, ...found }] : []
    })
    const v1 = nameInV1(chain.chainId)
    const kinds = [
      ...usable.map((kind) => ({ x402Version: 2, network, ...kind })),
      ...usable.flatMap(({ scheme }) =>
        v1 !== undefined && scheme === 'exact' ? [{ x402Version: 1, scheme, network: v1 }] : [],
      ),
    ]
    const signers: Record<string, string[]> = options.relayer === undefined ? {} : { 'eip155:*': [options.relayer] }
    return c.json({ kinds, extensions: ['payment-identifier'], signers })
  })

  app.post('/verify', (c) =>
    handle(
      c,
      (detail) => ({ isValid: false, invalidReason: 'invalid_payload', invalidMessage: detail }),
      async (caller, request) => {
        const scheme = schemeOf(request.requirements.scheme)
        return scheme ? scheme.verify(request, caller) : { isValid: false, invalidReason: 'unsupported_scheme' }
      },
    ),
  )

  app.post('/settle', (c) =>
    handle(
      c,
      (detail) => ({
        success: false,
        errorReason: 'invalid_payload',
        errorMessage: detail,
        transaction: '',
        network: networkOf(chain),
      }),
      async (caller, request) => {
        const scheme = schemeOf(request.requirements.scheme)
        const answer = scheme
          ? await scheme.settle(request, caller)
          : { success: false, transaction: '', errorReason: 'unsupported_scheme' }
        const settled = { ...answer, network: request.network }
        return settled.success ? signReceipt(settled, options.receiptSigner) : settled
      },
    ),
  )

  app.all('*', () => problem(404, 'route.unknown', 'The facilitator has no such route.'))

  app.onError((error) => {
    const known = apiProblem(error) ?? unavailableProblem(error)
    if (known) return known
    if (error instanceof BaseError && error.code === 'exact.unavailable') {
      return problem(503, 'exact.unavailable', error.shortMessage, {
        hint: 'Ask again.',
        headers: { 'retry-after': '1' },
      })
    }
    throw error
  })
  return app

  function schemeOf(name: string): FacilitatorScheme | undefined {
    return schemes.find(({ scheme }) => scheme === name)
  }

  type Read = Extract<ReturnType<typeof readFacilitatorRequest>, { ok: true }>['request']

  async function handle(
    c: Context,
    malformed: (detail: string) => object,
    work: (caller: FacilitatorCaller, request: Read) => Promise<object>,
  ): Promise<Response> {
    const caller = await options.callerOf(c.req.header('authorization'))
    if (!caller && options.access === 'keys') {
      return problem(401, 'api_key.invalid', 'The API key is missing or not known.', {
        hint: 'Send a merchant API key as `Authorization: Bearer pb_...`.',
        headers: { 'www-authenticate': 'Bearer' },
      })
    }
    const waitMs = options.limit.take(caller?.merchantId ?? `client ${options.clientOf(c)}`)
    if (waitMs !== undefined || running >= options.maxAtOnce) {
      return problem(429, 'facilitator.rate_limited', 'Too many requests of the facilitator.', {
        headers: { 'retry-after': `${Math.max(1, Math.ceil((waitMs ?? 1_000) / 1_000))}` },
      })
    }
    running++
    try {
      const read = readFacilitatorRequest(await validBody(c, z.unknown()))
      if (!read.ok) return c.json(malformed(read.detail), 400)
      return c.json(await work(caller ?? { merchantId: null }, read.request))
    } finally {
      running--
    }
  }
}
