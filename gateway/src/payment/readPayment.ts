import { isDeepStrictEqual } from 'node:util'
import {
  type Address,
  decodeHeader,
  type Hex,
  maxHeaderLength,
  type PaymentRequirements,
  paymentIdentifierKey,
  paymentIdentifierSchema,
  paymentPayloadSchema,
  requestIdPattern,
  sessionExtraSchema,
  sessionPayloadSchema,
  sessionScheme,
  voucherForSchema,
  x402Version,
} from '@protocolbanks/stream-protocol'
import { readAsWritten } from './readAsWritten.ts'
import type { PaymentRefusal } from './refusals.ts'

/** A payment for exactly what was offered, not yet verified. */
export type SessionPayment = {
  grantId: Hex
  cumulativeAmount: bigint
  signature: Hex
  payeeProof: readonly Hex[]
  requestId: string
  /** Request id of the stream that this is the next voucher of: it pays for nothing by itself. */
  voucherFor?: string | undefined
}

export type ReadPayment =
  | { ok: true; payment: SessionPayment }
  /** It cannot be read: `detail` says where. */
  | { ok: false; code: 'payment.malformed'; detail: string }
  /** It can be read, but pays for something else. */
  | { ok: false; code: PaymentRefusal }

/**
 * Untrusted PAYMENT-SIGNATURE to a payment for `offer`. A header that says exactly what a client of ours sends is taken
 * without the schemas, which cost more than everything else before the signature; any other goes through them, and they
 * alone say what is wrong. A property test holds both ways to the same answer.
 */
export function readPayment(header: string, offer: PaymentRequirements): ReadPayment {
  const usual = readAsWritten(header, offer) ?? readUsual(header, offer)
  return usual ? { ok: true, payment: usual } : readWithSchemas(header, offer)
}

/** The schemas' answer to any header. */
export function readWithSchemas(header: string, offer: PaymentRequirements): ReadPayment {
  const decoded = decodeHeader(header, paymentPayloadSchema)
  if (!decoded.ok) return malformed(`PAYMENT-SIGNATURE ${decoded.reason}.`)
  const { accepted, payload, extensions } = decoded.value
  const next = voucherForSchema.safeParse(extensions?.session)
  const mismatch = compareTerms(accepted, offer)
  // A voucher for a stream buys nothing at this price.
  if (mismatch && !(next.success && mismatch === 'price.changed')) return { ok: false, code: mismatch }
  const session = sessionPayloadSchema.safeParse(payload)
  if (!session.success) {
    const [issue] = session.error.issues
    return malformed(`The session payload is not valid: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}.`)
  }
  const identifier = paymentIdentifierSchema.safeParse(extensions?.[paymentIdentifierKey])
  if (!identifier.success) {
    return malformed('The extension payment-identifier must carry info.id, 16 to 128 characters of A-Z a-z 0-9 _ . : -')
  }
  const { grantId, cumulativeAmount, signature, payeeProof = [] } = session.data
  const payment = {
    grantId,
    cumulativeAmount: BigInt(cumulativeAmount),
    signature: signature as Hex,
    payeeProof,
    requestId: identifier.data.info.id,
  }
  return { ok: true, payment: next.success ? { ...payment, voucherFor: next.data.voucherFor } : payment }
}

/**
 * Of a single-payee grant, with `accepted` as it was offered, its fields in any order; undefined for anything else, right
 * or wrong.
 */
function readUsual(header: string, offer: PaymentRequirements): SessionPayment | undefined {
  const value = parseStrictly(header)
  const { x402Version: version, accepted, payload, extensions } = fieldsOf(value, 4)
  const { scheme, network, amount, asset, payTo, maxTimeoutSeconds, extra } = fieldsOf(accepted, 7)
  const { module, settler, service, scope, sources, pricing } = fieldsOf(extra, offer.extra?.pricing ? 6 : 5)
  const isOffered =
    version === x402Version &&
    scheme === offer.scheme &&
    network === offer.network &&
    amount === offer.amount &&
    asset === offer.asset &&
    payTo === offer.payTo &&
    maxTimeoutSeconds === offer.maxTimeoutSeconds &&
    module === offer.extra?.module &&
    settler === offer.extra?.settler &&
    service === offer.extra?.service &&
    scope === offer.extra?.scope &&
    isSameList(sources, offer.extra?.sources) &&
    isSamePricing(pricing, offer)
  if (!isOffered) return undefined

  const { grantId, cumulativeAmount, signature } = fieldsOf(payload, 3)
  const { id: requestId } = fieldsOf(fieldsOf(fieldsOf(extensions, 1)[paymentIdentifierKey], 1).info, 1)
  // Nineteen digits fit 128 bits without a further look.
  if (typeof cumulativeAmount !== 'string' || !/^[1-9]\d{0,18}$/.test(cumulativeAmount)) return undefined
  if (typeof grantId !== 'string' || !/^0x[0-9a-f]{64}$/.test(grantId)) return undefined
  if (typeof signature !== 'string' || !/^0x[0-9a-fA-F]{130}$/.test(signature)) return undefined
  if (typeof requestId !== 'string' || !requestIdPattern.test(requestId)) return undefined
  return {
    grantId: grantId as Hex,
    cumulativeAmount: BigInt(cumulativeAmount),
    signature: signature as Hex,
    payeeProof: [],
    requestId,
  }
}

function isSameList(left: unknown, right: unknown): boolean {
  if (!Array.isArray(left) || !Array.isArray(right)) return left === right
  return left.length === right.length && left.every((one, index) => one === right[index])
}

/** The same fields in the same order, as clients send back what they were offered. */
function isSamePricing(pricing: unknown, { extra }: PaymentRequirements): boolean {
  return pricing === extra?.pricing || JSON.stringify(pricing) === JSON.stringify(extra?.pricing)
}

/** Node's decoder skips what is not base64; here nothing may be skipped. */
function parseStrictly(header: string): unknown {
  if (header.length > maxHeaderLength || header.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(header))
    return undefined
  try {
    return JSON.parse(Buffer.from(header, 'base64').toString())
  } catch {
    return undefined
  }
}

/** The fields of an object that has exactly so many, so that what is compared is all there is; none otherwise. */
function fieldsOf(value: unknown, count: number): Record<string, unknown> {
  const isWhole = typeof value === 'object' && value !== null && Object.keys(value).length === count
  return isWhole ? (value as Record<string, unknown>) : {}
}

function compareTerms(accepted: PaymentRequirements, offer: PaymentRequirements): PaymentRefusal | undefined {
  if (accepted.scheme !== sessionScheme) return 'scheme.unsupported'
  if (accepted.network !== offer.network) return 'payment.wrong_network'
  if (!sameAddress(accepted.asset, offer.asset)) return 'payment.wrong_token'
  if (!sameAddress(accepted.payTo, offer.payTo)) return 'payment.wrong_payee'
  const extra = sessionExtraSchema.safeParse(accepted.extra)
  if (!extra.success || extra.data.module !== (offer.extra?.module as Address)) return 'payment.wrong_module'
  if (BigInt(accepted.amount) !== BigInt(offer.amount)) return 'price.changed'
  // Who leaves it out agrees with `amount` alone, which is the most.
  if (extra.data.pricing !== undefined && !isDeepStrictEqual(extra.data.pricing, offer.extra?.pricing)) {
    return 'price.changed'
  }
  return undefined
}

function malformed(detail: string): ReadPayment {
  return { ok: false, code: 'payment.malformed', detail }
}

function sameAddress(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase()
}
