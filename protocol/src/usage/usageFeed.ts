import { z } from 'zod'
import { addressSchema, atomicAmountSchema, hex32Schema } from '../x402/schemas.ts'

/** A client, as a keyed hash of its address. */
export const clientHashSchema = z.string().regex(/^[0-9a-f]{16}$/)

/**
 * One charge as the gateway's feed tells it, at the moment it is made: its request may still fail and be released. A charge
 * that was captured comes again, with the same `requestId` and its new amount.
 */
export const usageFeedEventSchema = z.object({
  eventId: z.string().max(128),
  requestId: z.string().max(128),
  account: addressSchema,
  grantId: hex32Schema,
  payee: addressSchema,
  /** Base units of the grant's token. */
  amountAtomic: atomicAmountSchema,
  /** Ids. */
  service: z.string().max(64),
  merchant: z.string().max(64),
  /** Where the call came from; left out where it is not known. */
  client: clientHashSchema.optional(),
  /** Milliseconds since 1970, by the meter's clock. */
  atMs: z.int().nonnegative(),
})
export type UsageFeedEvent = z.output<typeof usageFeedEventSchema>

/** A line of the feed (newline-delimited JSON). One without events says that the gateway is there. */
export const usageFeedLineSchema = z.object({
  /** When the meter was asked, milliseconds since 1970. */
  atMs: z.int().nonnegative(),
  events: z.array(usageFeedEventSchema).max(20_000),
})
export type UsageFeedLine = z.output<typeof usageFeedLineSchema>
