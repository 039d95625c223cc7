import { z } from 'zod'
import { BaseError } from '../errors.ts'
import { formatAmount, parseAmount } from '../money.ts'
import type { Pricing, Rate } from './pricing.ts'

/** A rate as JSON: a decimal price for so many units. */
export type RateJson = { price: string; per: number }

/** A pricing as JSON. */
export type PricingJson =
  | { kind: 'call' }
  | { kind: 'unit'; unit: string; rate: RateJson }
  | { kind: 'token'; input: RateJson; output: RateJson }
  | { kind: 'byte'; rate: RateJson }
  | { kind: 'second'; rate: RateJson }

/** Most units that a rate can be for. */
export const maxRatePer = 1_000_000_000_000
/** Most that so many units can cost: what meters hold, 2^53 - 1 base units. */
const maxRatePrice = 2n ** 53n - 1n

/**
 * Pricing as JSON, whose prices are decimal strings of a token with so many decimals; 0 for base units, as offers and the
 * database have them. The output is what `amountOf` takes.
 *
 * @example pricingSchema(6).parse({ kind: 'token', input: { price: '0.15', per: 1_000_000 }, output: { price: '0.6', per: 1_000_000 } })
 */
export function pricingSchema(decimals: number) {
  const rate = z.strictObject({
    price: z.string().transform((text, context): bigint => {
      try {
        const price = parseAmount(text, decimals)
        if (price <= maxRatePrice) return price
        context.addIssue({ code: 'custom', message: 'is too large' })
      } catch (error) {
        if (!(error instanceof BaseError)) throw error
        context.addIssue({ code: 'custom', message: error.metaMessages.at(-1) ?? error.shortMessage })
      }
      return z.NEVER
    }),
    per: z.int().min(1).max(maxRatePer).transform(BigInt),
  })
  return z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('call') }),
    z.strictObject({
      kind: z.literal('unit'),
      unit: z.string().regex(/^[\p{L}\p{N}][\p{L}\p{N} _.-]{0,31}$/u, 'must be a name of 1 to 32 letters and digits'),
      rate,
    }),
    z.strictObject({ kind: z.literal('token'), input: rate, output: rate }),
    z.strictObject({ kind: z.literal('byte'), rate }),
    z.strictObject({ kind: z.literal('second'), rate }),
  ])
}

/** The pricing's JSON form: what `pricingSchema(decimals)` reads as the same. */
export function formatPricing(pricing: Pricing, decimals: number): PricingJson {
  const format = ({ price, per }: Rate): RateJson => ({ price: formatAmount(price, decimals), per: Number(per) })
  switch (pricing.kind) {
    case 'call':
      return { kind: 'call' }
    case 'unit':
      return { kind: 'unit', unit: pricing.unit, rate: format(pricing.rate) }
    case 'token':
      return { kind: 'token', input: format(pricing.input), output: format(pricing.output) }
    default:
      return { kind: pricing.kind, rate: format(pricing.rate) }
  }
}
