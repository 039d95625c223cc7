import { holdOf, type Pricing, type PricingJson, parseAmount, pricingSchema } from '@protocolbanks/stream-protocol'
import { InvalidMerchantOptionsError } from './merchantErrors.ts'

/** Of one unit, in the token's units, e.g. `'0.02'`; or of so many: `{ price: '0.15', per: 1_000_000 }`. */
export type UnitRate = string | { price: string; per: number }

/**
 * What a call costs: a decimal string in the token's units, whatever happens; by use, with `max` the most of one call or of
 * one segment of a stream; or a function of the request.
 */
export type Price =
  | string
  /** Units that the handler reports, `stream.report(request, units)`. */
  | { unit: string; rate: UnitRate; max: string }
  /** Tokens of a language model, as `usage` of its answer tells: JSON or server-sent events. */
  | { token: { input: UnitRate; output: UnitRate }; max: string }
  /** Bytes of the answer. */
  | { byte: UnitRate; max: string }
  /** Seconds from when the handler is called until its answer has ended, by the millisecond. */
  | { second: UnitRate; max: string }
  | ((request: PricedRequest) => string | Promise<string>)

/** A request as a function of its price sees it. */
export type PricedRequest = {
  method: string
  url: URL
  header(name: string): string | undefined
  /** The body where it is JSON of at most 64 KiB; in Express, Fastify and NestJS where a parser ran before. */
  body: unknown
}

/** How one call comes to what it costs. Base units. */
export type CallPrice = {
  pricing: Pricing
  /** Its price, or the most of one call, or of one segment of a stream. */
  amountAtomic: bigint
  /** What it holds: less where the request bounds what it can use. */
  holdAtomic: bigint
}

/** What a request is priced by. */
export type PriceableRequest = {
  method: string
  url: string
  header(name: string): string | undefined
  body?: Uint8Array | undefined
}

/** The price of a request. @throws InvalidAmountError when a function answers no amount, and what it throws */
export type PriceOf = (request: PriceableRequest) => CallPrice | Promise<CallPrice>

/** @throws InvalidAmountError, InvalidMerchantOptionsError */
export function parsePrice(price: Price, decimals: number): PriceOf {
  if (typeof price === 'string') {
    const one = fixedAt(parseAmount(price, decimals))
    return () => one
  }
  if (typeof price === 'function') {
    return async (request) => fixedAt(parseAmount(await price(toPricedRequest(request)), decimals))
  }
  const parsed = pricingSchema(decimals).safeParse(toJson(price))
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new InvalidMerchantOptionsError(`price: ${issue?.path.join('.')} ${issue?.message}`)
  }
  const max = parseAmount(price.max, decimals)
  if (max === 0n) throw new InvalidMerchantOptionsError('price.max is 0: it is the most that one call can cost.')
  const pricing = parsed.data
  return ({ body }) => ({ pricing, amountAtomic: max, holdAtomic: holdOf(pricing, max, { body }) })
}

function fixedAt(amountAtomic: bigint): CallPrice {
  return { pricing: { kind: 'call' }, amountAtomic, holdAtomic: amountAtomic }
}

function toJson(price: Exclude<Price, string | ((request: PricedRequest) => unknown)>): PricingJson {
  if ('unit' in price) return { kind: 'unit', unit: price.unit, rate: toRate(price.rate) }
  if ('byte' in price) return { kind: 'byte', rate: toRate(price.byte) }
  if ('second' in price) return { kind: 'second', rate: toRate(price.second) }
  return { kind: 'token', input: toRate(price.token.input), output: toRate(price.token.output) }
}

function toRate(rate: UnitRate): { price: string; per: number } {
  return typeof rate === 'string' ? { price: rate, per: 1 } : rate
}

function toPricedRequest({ method, url, header, body }: PriceableRequest): PricedRequest {
  return { method, url: new URL(url), header, body: body && parseJson(body) }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return undefined
  }
}
