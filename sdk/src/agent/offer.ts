import {
  type Address,
  addressSchema,
  BaseError,
  decodeHeader,
  fixedPricing,
  type PaymentRequired,
  type PaymentRequirements,
  type Pricing,
  paymentRequiredHeader,
  paymentRequiredSchema,
  pricingSchema,
  sessionExtraSchema,
  sessionScheme,
} from '@protocolbanks/stream-protocol'
import type { AgentGrant } from './grant.ts'

/** What a service asks for one call, of those offers that our grant can pay. */
export type Offer = {
  /** As the service wrote it: the payment echoes it. */
  accepted: PaymentRequirements
  /** Base units. Of what is priced by use the most that one call costs, or one segment of a stream. */
  price: bigint
  /** How the price comes about, in base units. */
  pricing: Pricing
  payee: Address
  service: string
  /** Path prefix the price holds for. */
  scope: string
}

/** PAYMENT-REQUIRED of an answer; undefined when there is none that we can read. */
export function readPaymentRequired(response: Response): PaymentRequired | undefined {
  const header = response.headers.get(paymentRequiredHeader)
  if (!header) return undefined
  const decoded = decodeHeader(header, paymentRequiredSchema)
  return decoded.ok ? decoded.value : undefined
}

/** The first offer that the grant can pay. @throws OfferUnmatchedError saying of each why it cannot. */
export function findOffer(required: PaymentRequired, grant: AgentGrant): Offer {
  const reasons: string[] = []
  for (const accepted of required.accepts) {
    const offer = toOffer(accepted, grant)
    if (typeof offer !== 'string') return offer
    reasons.push(`${accepted.scheme}: ${offer}`)
  }
  throw new OfferUnmatchedError(required.resource.url, reasons)
}

/** The offer, or why the grant cannot pay it. */
function toOffer(accepted: PaymentRequirements, grant: AgentGrant): Offer | string {
  if (accepted.scheme !== sessionScheme) return `is not the ${sessionScheme} scheme`
  const network = `eip155:${grant.chainId}`
  if (accepted.network !== network) return `is on ${accepted.network}, the grant on ${network}`
  const extra = sessionExtraSchema.safeParse(accepted.extra)
  const payTo = addressSchema.safeParse(accepted.payTo)
  if (!extra.success || !payTo.success) return 'is not well formed'
  if (!same(extra.data.module, grant.module))
    return `wants the module ${extra.data.module}, the grant's is ${grant.module}`
  if (grant.token && !same(accepted.asset, grant.token)) {
    return `is paid in ${accepted.asset}, the grant is in ${grant.token}`
  }
  if (!grant.payees.some((payee) => same(payee, payTo.data))) {
    return `pays ${payTo.data}, which is not one of the grant's ${grant.payees.length} payees`
  }
  const { service, scope } = extra.data
  const pricing = offeredPricing.safeParse(extra.data.pricing)
  return {
    accepted,
    price: BigInt(accepted.amount),
    // What cannot be understood counts with its price, which it must not go above.
    pricing: pricing.success ? pricing.data : fixedPricing,
    payee: payTo.data,
    service,
    scope,
  }
}

const offeredPricing = pricingSchema(0)

function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase()
}

export class OfferUnmatchedError extends BaseError {
  override readonly code = 'offer.unmatched'
  constructor(url: string, reasons: string[]) {
    super('The service asks for a payment that this grant cannot make.', {
      metaMessages: [
        `Service: ${url}`,
        ...reasons.map((reason) => `Offer ${reason}.`),
        'Ask the owner for a grant that allows this payee on this network.',
      ],
      docsPath: '/errors#offer-unmatched',
    })
  }
}
