import { formatAmount, type PricedRoute, pricingSchema } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import { maxMeterAmount } from '../meter/meter.ts'
import { amountSchema, nameSchema } from './schemas.ts'
import { spendingLimitFields } from './spendingLimits.ts'

/** First segments that the gateway itself serves. */
const reserved = new Set('.well-known api facilitator health metrics openapi.json ready'.split(' '))
const isOwn = (segment: string) => reserved.has(segment) || segment.startsWith('.svc_')

/** Of one service. */
const maxRoutes = 100

const upstreamSchema = z
  .url({ protocol: /^https?$/ })
  .max(2048)
  .refine((text) => {
    const { username, password, hash, search } = new URL(text)
    return username === '' && password === '' && hash === '' && search === ''
  }, 'must be http or https without credentials, query or fragment')

/** What a service is given, by the management API or a file: amounts are decimal strings of the token ('0.01'). */
export function serviceFields({
  tokenDecimals,
  minExactPrice = 1n,
}: {
  tokenDecimals: number
  /** The least that a call by x402's `exact` may cost, base units. */
  minExactPrice?: bigint | undefined
}) {
  const amount = amountSchema(tokenDecimals, maxMeterAmount)
  const exactPrice = amount.refine(
    (atomic) => atomic >= minExactPrice,
    `must be at least ${formatAmount(minExactPrice, tokenDecimals)}`,
  )
  const pricing = pricingSchema(tokenDecimals)
  const route = z
    .strictObject({
      method: z
        .string()
        .regex(/^[A-Z]{1,16}$/, 'must be a method in upper case')
        .optional(),
      path: z
        .string()
        .max(200)
        .regex(/^\/(:?[A-Za-z0-9._~-]+\/)*(:?[A-Za-z0-9._~-]+|\*)?$/, 'must be like /images/:size or /docs/*'),
      query: z.record(z.string().min(1).max(64), z.string().max(200)).optional(),
      price: amount,
      pricing: pricing.default({ kind: 'call' }),
      exactPrice: exactPrice.optional(),
    })
    .transform((route): PricedRoute => route)
  return z.strictObject({
    name: nameSchema.max(64),
    pathPrefix: z
      .string()
      .max(200)
      .regex(/^(\/[A-Za-z0-9._~-]+)+$/, 'must be like /weather/v1: no slash at the end')
      .refine((path) => !path.split('/').some((segment) => segment === '.' || segment === '..'), 'must not have dots')
      // What begins with .svc_ is where applyServicesFile moves what is in its way.
      .refine((path) => !isOwn(path.split('/')[1] ?? ''), "must not be one of the gateway's own paths"),
    /** Base URL of the API; null: the merchant's own process serves it. */
    upstream: upstreamSchema.nullish(),
    price: amount,
    /** How the price of a call comes about. Other than by the call `price` is the most that is held. */
    pricing: pricing.optional(),
    /** Other prices for some requests behind the proxy: the first that a request belongs to. */
    routes: z.array(route).max(maxRoutes).optional(),
    /** How long a stream whose voucher is used up waits for the next. */
    voucherGraceMs: z.int().min(0).max(120_000).optional(),
    /** What a call costs by x402's `exact`, each settled on its own; null: it is not taken. */
    exactPrice: exactPrice.nullish(),
    /** What a grant has to owe for a settlement. */
    threshold: amount.optional(),
    /** How old an unsettled charge may become; at most 30 days. */
    maxAgeSeconds: z.int().min(1).max(2_592_000).optional(),
    // What one grant may spend at it.
    ...spendingLimitFields(tokenDecimals),
    upstreamTimeoutMs: z.int().min(1).max(600_000).optional(),
    enabled: z.boolean().optional(),
  })
}
