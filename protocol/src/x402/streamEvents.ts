import type { Address, Hex } from 'viem'
import { z } from 'zod'
import { atomicAmountSchema } from './schemas.ts'

// What a metered stream of server-sent events says about its payment, between the events of the service. Names as MPP's.

/** The next voucher has to come, out of band, or the stream ends. */
export const needVoucherEvent = 'payment-need-voucher'
/** The last event: what the stream cost, as the JSON of PAYMENT-RESPONSE. */
export const streamReceiptEvent = 'payment-receipt'
/** The stream ends here, as JSON of a problem. */
export const streamErrorEvent = 'payment-error'

/** `data` of `payment-need-voucher`. */
export const needVoucherSchema = z.looseObject({
  /** See `channelIdOf`. */
  channelId: z.string().max(256),
  /** What the next voucher has to say at least, base units. */
  requiredCumulative: atomicAmountSchema,
  /** What the newest one says. */
  acceptedCumulative: atomicAmountSchema,
  /** Most that the grant allows in total. */
  deposit: atomicAmountSchema.optional(),
})
export type NeedVoucher = z.output<typeof needVoucherSchema>

/** A grant at one payee, as the events of a stream name it. */
export function channelIdOf(grantId: Hex, payee: Address): string {
  return `${grantId}:${payee}`.toLowerCase()
}

/**
 * Marks a payment as the next voucher of a stream that runs: `extensions.session.voucherFor` is the stream's request id.
 * It raises what is authorised, and charges nothing.
 */
export const voucherForSchema = z.looseObject({ voucherFor: z.string().max(128) })

/** One event as it goes over the wire. */
export function formatEvent(event: string, data: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}
