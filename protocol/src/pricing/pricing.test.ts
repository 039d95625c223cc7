import fc from 'fast-check'
import { expect, test } from 'vitest'
import { amountOf, coveredBy } from './amountOf.ts'
import { holdOf } from './holdOf.ts'
import type { Pricing, Rate, Usage } from './pricing.ts'
import { formatPricing, pricingSchema } from './pricingSchema.ts'
import { matchRoute } from './routes.ts'
import { parseUnits } from './units.ts'

const rate = fc.record({ price: fc.bigInt(0n, 10n ** 12n), per: fc.bigInt(1n, 10n ** 9n) })
const count = fc.nat({ max: 2 ** 31 - 1 })
const usage: fc.Arbitrary<Usage> = fc.record({
  microUnits: fc.bigInt(0n, 10n ** 12n),
  inputTokens: count,
  outputTokens: count,
  bytes: count,
  milliseconds: count,
})
const pricing: fc.Arbitrary<Pricing> = fc.oneof(
  fc.constant<Pricing>({ kind: 'call' }),
  rate.map((rate): Pricing => ({ kind: 'unit', unit: 'page', rate })),
  fc.tuple(rate, rate).map(([input, output]): Pricing => ({ kind: 'token', input, output })),
  rate.map((rate): Pricing => ({ kind: 'byte', rate })),
  rate.map((rate): Pricing => ({ kind: 'second', rate })),
)

/** Sums of fractions, as at school. */
function exactly(pricing: Pricing, used: Usage): [dividend: bigint, divisor: bigint] {
  const parts: [Rate, bigint, bigint][] =
    pricing.kind === 'call'
      ? []
      : pricing.kind === 'token'
        ? [
            [pricing.input, BigInt(used.inputTokens ?? 0), 1n],
            [pricing.output, BigInt(used.outputTokens ?? 0), 1n],
          ]
        : pricing.kind === 'unit'
          ? [[pricing.rate, used.microUnits ?? 0n, 1_000_000n]]
          : pricing.kind === 'byte'
            ? [[pricing.rate, BigInt(used.bytes ?? 0), 1n]]
            : [[pricing.rate, BigInt(used.milliseconds ?? 0), 1_000n]]
  return parts.reduce<[bigint, bigint]>(
    ([dividend, divisor], [{ price, per }, number, scale]) => [
      dividend * per * scale + price * number * divisor,
      divisor * per * scale,
    ],
    [0n, 1n],
  )
}

test('an amount is the exact sum rounded up once, for every pricing and usage', () => {
  fc.assert(
    fc.property(pricing, usage, (pricing, used) => {
      const [dividend, divisor] = exactly(pricing, used)
      const amount = amountOf(pricing, used)
      expect(amount * divisor >= dividend).toBe(true)
      expect((amount - 1n) * divisor < dividend).toBe(true)
    }),
  )
})

test('an amount never falls when usage grows', () => {
  fc.assert(
    fc.property(pricing, usage, usage, (pricing, used, more) => {
      const grown: Usage = {
        microUnits: (used.microUnits ?? 0n) + (more.microUnits ?? 0n),
        inputTokens: (used.inputTokens ?? 0) + (more.inputTokens ?? 0),
        outputTokens: (used.outputTokens ?? 0) + (more.outputTokens ?? 0),
        bytes: (used.bytes ?? 0) + (more.bytes ?? 0),
        milliseconds: (used.milliseconds ?? 0) + (more.milliseconds ?? 0),
      }
      expect(amountOf(pricing, grown) >= amountOf(pricing, used)).toBe(true)
    }),
  )
})

test('what an amount covers costs no more than it, and one byte more does', () => {
  fc.assert(
    fc.property(
      fc.record({ price: fc.bigInt(1n, 10n ** 6n), per: fc.bigInt(1n, 10n ** 6n) }),
      fc.bigInt(0n, 10n ** 6n),
      (rate, amount) => {
        const bytes = Number(coveredBy({ kind: 'byte', rate }, amount))
        expect(amountOf({ kind: 'byte', rate }, { bytes }) <= amount).toBe(true)
        expect(amountOf({ kind: 'byte', rate }, { bytes: bytes + 1 }) > amount).toBe(true)
      },
    ),
  )
})

test('a pricing is the same after it was written as JSON and read again, for every precision', () => {
  fc.assert(
    fc.property(pricing, fc.integer({ min: 0, max: 18 }), (pricing, decimals) => {
      const json: unknown = JSON.parse(JSON.stringify(formatPricing(pricing, decimals)))
      expect(pricingSchema(decimals).parse(json)).toEqual(pricing)
    }),
  )
})

test.each([
  { kind: 'token', input: { price: '0.15', per: 1_000_000 } },
  { kind: 'byte', rate: { price: '0.0000001', per: 1 } },
  { kind: 'byte', rate: { price: '-1', per: 1 } },
  { kind: 'byte', rate: { price: '1', per: 0 } },
  { kind: 'byte', rate: { price: '1', per: 1.5 } },
  { kind: 'unit', unit: '', rate: { price: '1', per: 1 } },
  { kind: 'call', price: '1' },
  { kind: 'word' },
])('refuses %j as a pricing of a token with 6 decimals', (json) => {
  expect(pricingSchema(6).safeParse(json).success).toBe(false)
})

test('units are decimals with at most six places', () => {
  expect(parseUnits('2.5')).toBe(2_500_000n)
  expect(parseUnits(' 7 ')).toBe(7_000_000n)
  for (const text of ['', '-1', '1e3', '1.', '.5', '1.0000001', 'NaN', '1,5', '1, 2']) {
    expect(parseUnits(text)).toBeUndefined()
  }
})

const token: Pricing = { kind: 'token', input: { price: 1n, per: 1n }, output: { price: 10n, per: 1n } }

function hold(request: unknown): bigint {
  return holdOf(token, 1_000_000n, { body: new TextEncoder().encode(JSON.stringify(request)) })
}

test('a request that says how many tokens it wants holds those and one for each of its bytes', () => {
  const request = { messages: [{ role: 'user', content: 'hi' }], max_tokens: 100 }
  expect(hold(request)).toBe(BigInt(JSON.stringify(request).length) + 1_000n)
  const several = { ...request, n: 3 }
  expect(hold(several)).toBe(BigInt(JSON.stringify(several).length) + 3_000n)
})

test('of several limits on tokens the highest counts', () => {
  const request = { messages: [], max_tokens: 1, max_completion_tokens: 50 }
  expect(hold(request)).toBe(BigInt(JSON.stringify(request).length) + 500n)
})

const messages = [{ role: 'user', content: 'hi' }]
test.each([
  {},
  { messages },
  { messages, max_tokens: 0 },
  { messages, max_tokens: -5 },
  { messages, max_tokens: '10' },
  { messages, max_tokens: 10, n: 0.5 },
  { messages, max_tokens: 10, best_of: 20 },
  { messages, max_output_tokens: 10 },
  { messages, max_tokens: 10, MAX_TOKENS: 90_000 },
  { messages, max_tokens: 10, web_search_options: {} },
  { messages, max_tokens: 10, tools: [{ type: 'web_search' }] },
  { max_tokens: 10, messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://x' } }] }] },
  { max_tokens: 10, prompt: ['one', 'two'] },
  { max_output_tokens: 10, prompt: { id: 'pmpt_1' }, input: 'hi' },
  { max_output_tokens: 10, input: 'hi', previous_response_id: 'resp_1' },
  { messages, max_tokens: 900_000_000 },
])('a request that bounds nothing holds the whole price: %j', (request) => {
  expect(hold(request)).toBe(1_000_000n)
})

test('a limit that is there twice bounds nothing, and one in what somebody says is no limit', () => {
  for (const again of ['"max_tokens":90000', '"MAX_TOKENS": 90000', '"n":20,"n":1']) {
    const body = new TextEncoder().encode(`{"messages":[],"max_tokens":1,${again}}`)
    expect(holdOf(token, 1_000_000n, { body })).toBe(1_000_000n)
  }
  const request = { messages: [{ role: 'user', content: 'What is {"max_tokens": 5}?' }], max_tokens: 100 }
  expect(hold(request)).toBe(BigInt(JSON.stringify(request).length) + 1_000n)
})

test('what agents ask with tools of their own and a format is bounded', () => {
  const tools = [{ type: 'function', function: { name: 'find', parameters: { type: 'object', properties: {} } } }]
  const request = {
    model: 'm',
    messages,
    tools,
    stream: true,
    response_format: { type: 'json_object' },
    max_tokens: 100,
  }
  expect(hold(request)).toBe(BigInt(JSON.stringify(request).length) + 1_000n)
})

test('a hold is never above the price, and never below what the request can use', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 ** 6 }), fc.bigInt(0n, 10n ** 8n), fc.string(), (most, max, content) => {
      const body = new TextEncoder().encode(JSON.stringify({ prompt: content, max_tokens: most }))
      const held = holdOf(token, max, { body })
      expect(held <= max).toBe(true)
      if (held < max) {
        expect(held >= amountOf(token, { inputTokens: content.length, outputTokens: most })).toBe(true)
      }
    }),
  )
})

const routes = [
  { name: 'image', method: 'POST', path: '/images/:size', query: { quality: 'high' } },
  { name: 'images', path: '/images/*' },
  { name: 'models', method: 'GET', path: '/models' },
]

test.each([
  ['POST', '/images/large', 'quality=high', 'image'],
  ['POST', '/images/large', '', 'images'],
  ['GET', '/images', '', 'images'],
  ['HEAD', '/Models/', '', 'models'],
  ['GET', '/%6dodels', '', 'models'],
  ['GET', '//models', '', 'models'],
  ['POST', '/models', '', undefined],
  ['GET', '/imagesque', '', undefined],
  ['GET', '/', '', undefined],
])('%s %s?%s is priced by the route %s', (method, path, query, name) => {
  const route = matchRoute(routes, { method, path, query })
  expect(route === 'unclear' ? route : route?.name).toBe(name)
})

test.each([
  ['/models%2f', ''],
  ['/models%252f', ''],
  ['/%2e%2e/models', ''],
  ['/models;a=b', ''],
  ['/%ff', ''],
  ['/images/large', 'quality=low&quality=high'],
])('%s?%s is unclear, as servers differ on what it is', (path, query) => {
  expect(matchRoute(routes, { method: 'POST', path, query })).toBe('unclear')
})
