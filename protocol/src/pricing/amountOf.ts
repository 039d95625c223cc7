import type { MeteredPricing, Pricing, Rate, Usage } from './pricing.ts'

/**
 * What this usage costs, base units: the exact sum, rounded up once. It never falls when usage grows. Zero for `call`, whose
 * price is no matter of usage.
 *
 * @example amountOf({ kind: 'byte', rate: { price: 1n, per: 1_000n } }, { bytes: 1_001 }) // 2n
 */
export function amountOf(pricing: Pricing, usage: Usage): bigint {
  switch (pricing.kind) {
    case 'call':
      return 0n
    case 'unit':
      return divideUp(pricing.rate.price * (usage.microUnits ?? 0n), pricing.rate.per * microUnitsPerUnit)
    case 'byte':
      return divideUp(pricing.rate.price * BigInt(usage.bytes ?? 0), pricing.rate.per)
    case 'second':
      return divideUp(pricing.rate.price * BigInt(usage.milliseconds ?? 0), pricing.rate.per * 1_000n)
    case 'token': {
      const { input, output } = pricing
      const cost = costOf(input, usage.inputTokens) * output.per + costOf(output, usage.outputTokens) * input.per
      return divideUp(cost, input.per * output.per)
    }
  }
}

/**
 * How many whole bytes or milliseconds `amount` covers; undefined where nothing limits them: they cost nothing, or are not what
 * is paid for.
 */
export function coveredBy(pricing: MeteredPricing, amount: bigint): bigint | undefined {
  if (pricing.kind !== 'byte' && pricing.kind !== 'second') return undefined
  const { price, per } = pricing.rate
  if (price === 0n) return undefined
  return (amount * per * (pricing.kind === 'second' ? 1_000n : 1n)) / price
}

const microUnitsPerUnit = 1_000_000n

/** Base units times `per`. */
function costOf({ price }: Rate, count = 0): bigint {
  return price * BigInt(count)
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor
}
