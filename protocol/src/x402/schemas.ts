import { type Address, getAddress, type Hex, isAddress } from 'viem'
import { z } from 'zod'
import { maxUint128 } from '../money.ts'

// The wire types of x402 v2, one schema each. Unknown fields of foreign schemes pass through untouched.

export const addressSchema = z
  .string()
  .refine((text) => isAddress(text, { strict: false }), 'must be a 20-byte hex address')
  .transform((text): Address => getAddress(text))

export const hex32Schema = z
  .string()
  .regex(/^0x[0-9a-fA-F]{64}$/, 'must be 32 bytes of hex')
  .transform((text) => text.toLowerCase() as Hex)

/** Base units as a decimal string without sign, point or leading zeros; fits 128 bits. */
export const atomicAmountSchema = z
  .string()
  .refine(isAtomicAmount, 'must be a whole number of base units below 2^128, as a decimal string')

function isAtomicAmount(text: string): boolean {
  return /^(0|[1-9]\d{0,38})$/.test(text) && BigInt(text) <= maxUint128
}

/** CAIP-2 of an EVM chain, e.g. `eip155:8453`. */
export const networkSchema = z.string().regex(/^eip155:[1-9]\d{0,15}$/, 'must be eip155:<chain id>')

export const x402Version = 2

export const resourceSchema = z.looseObject({
  url: z.string().max(2048),
  description: z.string().optional(),
  mimeType: z.string().optional(),
})
export type Resource = z.output<typeof resourceSchema>

export const paymentRequirementsSchema = z.looseObject({
  scheme: z.string().max(64),
  network: z.string().max(64),
  amount: atomicAmountSchema,
  asset: z.string().max(64),
  payTo: z.string().max(64),
  maxTimeoutSeconds: z.number().positive(),
  extra: z.record(z.string(), z.unknown()).optional(),
})
export type PaymentRequirements = z.output<typeof paymentRequirementsSchema>

export const paymentRequiredSchema = z.looseObject({
  x402Version: z.literal(x402Version),
  error: z.string().optional(),
  resource: resourceSchema,
  accepts: z.array(paymentRequirementsSchema).min(1).max(32),
  extensions: z.record(z.string(), z.unknown()).optional(),
})
export type PaymentRequired = z.output<typeof paymentRequiredSchema>

export const paymentPayloadSchema = z.looseObject({
  x402Version: z.literal(x402Version),
  resource: resourceSchema.optional(),
  accepted: paymentRequirementsSchema,
  payload: z.record(z.string(), z.unknown()),
  extensions: z.record(z.string(), z.unknown()).optional(),
})
export type PaymentPayload = z.output<typeof paymentPayloadSchema>

export const settleResponseSchema = z.looseObject({
  success: z.boolean(),
  transaction: z.string(),
  network: z.string(),
  payer: z.string().optional(),
  amount: atomicAmountSchema.optional(),
  errorReason: z.string().optional(),
  errorMessage: z.string().optional(),
  extensions: z.record(z.string(), z.unknown()).optional(),
  extra: z.record(z.string(), z.unknown()).optional(),
})
export type SettleResponse = z.output<typeof settleResponseSchema>

/** x402's `payment-identifier` extension: the request id. */
export const paymentIdentifierKey = 'payment-identifier'
export const requestIdPattern = /^[\w.:-]{16,128}$/
export const requestIdSchema = z.string().regex(requestIdPattern, 'must be 16 to 128 characters of A-Z a-z 0-9 _ . : -')
export const paymentIdentifierSchema = z.looseObject({
  info: z.looseObject({ required: z.boolean().optional(), id: requestIdSchema }),
})
