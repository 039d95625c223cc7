import { z } from 'zod'
import { addressSchema, atomicAmountSchema, hex32Schema } from './schemas.ts'

/** Our scheme's name in `accepts[].scheme`. */
export const sessionScheme = 'session'

/** `accepts[].extra` of the scheme: everything a client needs to sign a voucher for this service. */
export const sessionExtraSchema = z.looseObject({
  /** SessionKeyValidator, the voucher domain's verifying contract. */
  module: addressSchema,
  settler: addressSchema,
  /** Id of the priced service. */
  service: z.string().max(64),
  /** Path prefix under the resource's origin that this price holds for: a client asks once per scope. */
  scope: z.string().max(2048),
  /** Sources of grants that are taken here (see `grantSources`; others may be added). Left out: the allowance. */
  sources: z.array(z.string().max(32)).max(16).optional(),
  /** How the price comes about, where `amount` is the most that is held: see `pricingSchema(0)`. */
  pricing: z.record(z.string(), z.unknown()).optional(),
})
export type SessionExtra = z.output<typeof sessionExtraSchema>

/** `payload` of the scheme. The payee is `accepted.payTo`. */
export const sessionPayloadSchema = z.strictObject({
  grantId: hex32Schema,
  cumulativeAmount: atomicAmountSchema,
  signature: z.string().regex(/^0x[0-9a-fA-F]{130}$/, 'must be a 65-byte hex signature'),
  /** Proof that the grant may pay the payee; left out when it has one payee, or once the gateway knows it. */
  payeeProof: z.array(hex32Schema).max(32).optional(),
})
export type SessionPayload = z.output<typeof sessionPayloadSchema>

/** `extra` of PAYMENT-RESPONSE, and the `session` extension of a 402 to a client that proved to hold the session key. */
export const channelSchema = z.looseObject({
  grantId: hex32Schema,
  /** What the payee has charged in total under this grant, base units: the next voucher starts from here. */
  charged: atomicAmountSchema,
  /** The highest cumulative amount seen. */
  authorized: atomicAmountSchema,
})
export type ChannelInfo = z.output<typeof channelSchema>

/** `extra` of PAYMENT-RESPONSE. */
export const sessionReceiptSchema = channelSchema.extend({
  requestId: z.string(),
  service: z.string(),
  /** What pays, one of `grantSources`: reserve is guaranteed, allowance is credit. */
  source: z.string().max(32).optional(),
  /** Names this charge to the gateway's operator: 32 hex digits, the trace id of W3C Trace Context. */
  traceId: z.string().max(64).optional(),
  payee: addressSchema.optional(),
  /** When it was charged, RFC 3339 in UTC with milliseconds. */
  time: z.string().max(32).optional(),
  /** Of the gateway over the rest of the receipt: see `verifyReceipt`. */
  signature: z.string().max(1024).optional(),
})
export type SessionReceipt = z.output<typeof sessionReceiptSchema>
