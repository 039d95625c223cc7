import { atomicAmountSchema, pricingSchema } from '@protocolbanks/stream-protocol'
import { z } from 'zod'

/** Bodies of the charges API. Amounts in base units. */
export const chargeSchema = z.strictObject({
  /** Name of one of the merchant's services. */
  service: z.string().min(1).max(64),
  /** Price of this call, of one that is priced by use the most that it holds; the service's own when left out. */
  amountAtomic: atomicAmountSchema.optional(),
  /** What this call holds, where the request bounds what it can use: at most the price. */
  holdAtomic: atomicAmountSchema.optional(),
  /** How the price comes about, in base units. Left out: an amount of its own is a fixed price; else it is as the service says. */
  pricing: pricingSchema(0).optional(),
  method: z.string().min(1).max(16),
  url: z.url().max(2048),
  /** Of the request's body, any hash the merchant likes. */
  bodyHash: z.string().max(128).optional(),
  /** Chosen by the merchant, so that they can release a charge whose answer they never got. */
  ticket: z.uuid().optional(),
  /** The client's PAYMENT-SIGNATURE. */
  paymentSignature: z.string().max(16_384).nullable(),
  /** The address of who asks the merchant, if their server can tell. It is not kept. */
  clientAddress: z.string().max(64).optional(),
  /** The merchant's server settles before it answers: it may be paid by what moves then, as x402's `exact` does. */
  settles: z.boolean().optional(),
})

export const captureSchema = z.strictObject({
  /** What the call cost in all. Above what was held it is charged if a voucher covers it. */
  amountAtomic: atomicAmountSchema,
})

export const extendSchema = z.strictObject({
  /** What the next segment holds. */
  amountAtomic: atomicAmountSchema,
  /** What everything before it cost; all of what was held when left out. */
  usedAtomic: atomicAmountSchema.optional(),
  /** Its number, from 2: asked for again, it is charged once. */
  segment: z.int().min(2).max(1_000_000).optional(),
})
