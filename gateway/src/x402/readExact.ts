import {
  decodeHeader,
  type ExactAuthorization,
  exactPayloadSchema,
  exactScheme,
  type Hex,
  type PaymentPayload,
  type PaymentRequirements,
  paymentIdentifierKey,
  paymentPayloadSchema,
  requestIdSchema,
} from '@protocolbanks/stream-protocol'
import type { ExactRefusal } from '../payment/refusals.ts'

/** A payment for exactly what was offered, not yet verified. */
export type ExactPayment = {
  authorization: ExactAuthorization
  signature: Hex
  /** The client's name for the request; undefined when it gave none. */
  identifier: string | undefined
}

export type ReadExact =
  | { ok: true; payment: ExactPayment }
  /** It is of another scheme. */
  | { ok: false; code: 'scheme.unsupported' }
  | { ok: false; code: 'payment.malformed'; detail: string }
  | { ok: false; code: ExactRefusal }

/** Untrusted PAYMENT-SIGNATURE to a payment for `offer`. */
export function readExact(header: string, offer: PaymentRequirements): ReadExact {
  const decoded = decodeHeader(header, paymentPayloadSchema)
  if (!decoded.ok) return malformed(`PAYMENT-SIGNATURE ${decoded.reason}.`)
  return readExactPayload(decoded.value, offer)
}

/** The same of a payload that was read before. */
export function readExactPayload(
  { accepted, payload, extensions }: PaymentPayload,
  offer: PaymentRequirements,
): ReadExact {
  if (accepted.scheme !== exactScheme) return { ok: false, code: 'scheme.unsupported' }
  if (accepted.network !== offer.network) return { ok: false, code: 'payment.wrong_network' }
  if (accepted.asset.toLowerCase() !== offer.asset.toLowerCase()) return { ok: false, code: 'payment.wrong_token' }
  if (accepted.payTo.toLowerCase() !== offer.payTo.toLowerCase()) return { ok: false, code: 'payment.wrong_payee' }
  if (BigInt(accepted.amount) !== BigInt(offer.amount)) return { ok: false, code: 'price.changed' }
  const exact = exactPayloadSchema.safeParse(payload)
  if (!exact.success) {
    const [issue] = exact.error.issues
    return malformed(`The exact payload is not valid: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}.`)
  }
  const identifier = readIdentifier(extensions?.[paymentIdentifierKey])
  if (!identifier.ok) {
    return malformed('The extension payment-identifier: info.id must be 16 to 128 characters of A-Z a-z 0-9 _ . : -')
  }
  return { ok: true, payment: { ...exact.data, identifier: identifier.id } }
}

/** Clients that do not know the extension send it back as it was declared, without an id. */
function readIdentifier(extension: unknown): { ok: true; id: string | undefined } | { ok: false } {
  const info = fieldOf(extension, 'info')
  const id = fieldOf(info, 'id')
  if (id === undefined) return { ok: true, id: undefined }
  const parsed = requestIdSchema.safeParse(id)
  return parsed.success ? { ok: true, id: parsed.data } : { ok: false }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
}

function malformed(detail: string): ReadExact {
  return { ok: false, code: 'payment.malformed', detail }
}
