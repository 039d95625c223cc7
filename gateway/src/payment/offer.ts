import {
  formatPricing,
  grantSources,
  type PaymentRequired,
  type PaymentRequirements,
  type Pricing,
  paymentIdentifierKey,
  paymentRequiredHeader,
  requestIdPattern,
  sessionScheme,
  x402Version,
} from '@protocolbanks/stream-protocol'
import type { ChannelMeter } from '../meter/meter.ts'
import { problem } from '../problem.ts'
import type { Service } from '../services/serviceTable.ts'
import { type Chain, networkOf } from './chain.ts'
import { type PaymentRefusal, refusals } from './refusals.ts'

/** How long a client may take from the price to the payment, in seconds. */
const maxTimeoutSeconds = 60

/** Of a merchant who serves nothing on credit. */
const reserveOnly = grantSources.filter((source) => source === 'reserve')

/**
 * The `session` entry of `accepts` for one call. What is priced by use says in `extra.pricing` how, in base units, and in
 * `amount` how much is held at most.
 */
export function sessionRequirements(
  chain: Chain,
  service: Service,
  amount: bigint,
  pricing: Pricing | undefined = service.pricing,
): PaymentRequirements {
  return {
    scheme: sessionScheme,
    network: networkOf(chain),
    amount: amount.toString(),
    asset: service.token,
    payTo: service.payee,
    maxTimeoutSeconds,
    extra: {
      module: chain.module,
      settler: chain.settler,
      service: service.id,
      scope: service.pathPrefix,
      sources: service.credit?.mode === 'reserve_only' ? reserveOnly : grantSources,
      ...(pricing !== undefined && pricing.kind !== 'call' && { pricing: formatPricing(pricing, 0) }),
    },
  }
}

/** Our scheme needs the id always; clients of others may leave it out, and want to be told its form. */
const optionalIdentifier = {
  info: { required: false },
  schema: {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: {
      required: { type: 'boolean' },
      id: { type: 'string', minLength: 16, maxLength: 128, pattern: requestIdPattern.source },
    },
    required: ['required'],
  },
}

type Refusal = {
  code: PaymentRefusal
  service: Service
  amount: bigint
  /** Instead of the service's. */
  pricing?: Pricing | undefined
  url: string
  /** What the channel stands at: only for a client that proved to hold the session key. */
  channel?: ({ grantId: string } & ChannelMeter) | undefined
  detail?: string | undefined
  /** What `accepts` offers after our own scheme. */
  others?: PaymentRequirements[] | undefined
  /** Instead of what is usual for the code. */
  retryAfterSeconds?: number | undefined
}

/** The refusal of a call: problem+json, and with a 402 the offer of x402 v2 in `PAYMENT-REQUIRED`. */
export function refusePayment(chain: Chain, refusal: Refusal): Response {
  const { code, service, amount, pricing, url, channel, detail, others = [] } = refusal
  const { status, title, hint } = refusals[code]
  const retryAfterSeconds = refusal.retryAfterSeconds ?? refusals[code].retryAfterSeconds
  const headers: Record<string, string> = { 'cache-control': 'no-store' }
  if (status === 402) {
    const offer: PaymentRequired = {
      x402Version,
      error: code,
      resource: { url, description: service.name },
      accepts: [sessionRequirements(chain, service, amount, pricing), ...others],
      extensions: {
        [paymentIdentifierKey]: others.length === 0 ? { info: { required: true } } : optionalIdentifier,
        ...(channel && {
          session: {
            grantId: channel.grantId,
            charged: channel.charged.toString(),
            authorized: channel.authorized.toString(),
          },
        }),
      },
    }
    headers[paymentRequiredHeader] = Buffer.from(JSON.stringify(offer)).toString('base64')
  }
  if (retryAfterSeconds !== undefined) headers['retry-after'] = `${retryAfterSeconds}`
  return problem(status, code, title, { detail, hint, headers })
}
