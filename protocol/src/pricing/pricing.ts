/**
 * What so many units cost: `price` base units of the token per `per` units, so that a unit may cost less than one base unit.
 *
 * @example const rate: Rate = { price: 150_000n, per: 1_000_000n } // 0.15 USDC for a million tokens
 */
export type Rate = { price: bigint; per: bigint }

/**
 * How the price of a call comes about. Of every kind but `call` the service's price is the most that one call holds, or one
 * segment of a stream; what was used is charged.
 */
export type Pricing =
  /** The service's price, whatever happens. */
  | { kind: 'call' }
  /** Units that the API itself reports; `unit` is their name for people. */
  | { kind: 'unit'; unit: string; rate: Rate }
  /** Tokens of a language model, as the answer's `usage` tells. */
  | { kind: 'token'; input: Rate; output: Rate }
  /** Bytes of the answer's body. */
  | { kind: 'byte'; rate: Rate }
  /** Seconds that the answer takes, by the millisecond. */
  | { kind: 'second'; rate: Rate }

/** Every kind but the fixed price. */
export type MeteredPricing = Exclude<Pricing, { kind: 'call' }>

/** What a call used. What is left out was not used. Whole numbers that are not negative. */
export type Usage = {
  /** Millionths of the unit: see `parseUnits`. */
  microUnits?: bigint | undefined
  inputTokens?: number | undefined
  outputTokens?: number | undefined
  bytes?: number | undefined
  milliseconds?: number | undefined
}

/** Pricing of a service that says nothing else. */
export const fixedPricing: Pricing = { kind: 'call' }
