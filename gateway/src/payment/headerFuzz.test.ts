import { encodeHeader } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { Hono } from 'hono'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { paymentMiddleware } from './paymentMiddleware.ts'
import {
  account,
  createTestGateway,
  grantId,
  newRequestId,
  paid,
  payee,
  payment,
  type TestGateway,
} from './testing/testGateway.ts'

// Ten thousand payments that somebody damaged or made up. None may break the gateway, none may be served and not charged.

const mutations = 10_000
const atOnce = 50
const price = 100n

let gateway: TestGateway
let app: Hono
let served: number
beforeEach(async () => {
  // So that the grant has enough for all.
  gateway = createTestGateway({ service: { price } })
  await gateway.ready()
  served = 0
  app = new Hono()
  const serviceOf = () => gateway.service
  app.use('*', paymentMiddleware({ gate: gateway.gate, serviceOf, publicUrl: 'http://gateway.test' }))
  app.get('*', (c) => {
    served += 1
    return c.json({ served })
  })
})
afterEach(() => gateway.meter.close())

type Json = { [name: string]: unknown }

const paths = [
  ['x402Version'],
  ['accepted'],
  ['accepted', 'amount'],
  ['accepted', 'payTo'],
  ['accepted', 'scheme'],
  ['accepted', 'extra'],
  ['accepted', 'extra', 'service'],
  ['accepted', 'extra', 'sources'],
  ['payload'],
  ['payload', 'grantId'],
  ['payload', 'cumulativeAmount'],
  ['payload', 'signature'],
  ['payload', 'payeeProof'],
  ['extensions'],
  ['extensions', 'payment-identifier', 'info', 'id'],
]
const odd = fc.constantFrom<unknown>(
  null,
  '',
  0,
  -1,
  Number.MAX_VALUE,
  '0',
  '-1',
  `${2n ** 128n}`,
  '9'.repeat(400),
  '0x',
  `0x${'00'.repeat(65)}`,
  `0x${'ff'.repeat(65)}`,
  '__proto__',
  [],
  {},
  [[[[[[]]]]]],
  'é\u0000',
)
const printable = fc.string({ unit: fc.integer({ min: 33, max: 126 }).map((code) => String.fromCharCode(code)) })

/** What becomes of a valid header. */
const mutation: fc.Arbitrary<(header: string) => string> = fc.oneof(
  fc.tuple(fc.nat(2_000), printable).map(([at, text]) => (header: string) => {
    const index = at % header.length
    return header.slice(0, index) + text + header.slice(index + text.length)
  }),
  fc.nat(2_000).map((length) => (header: string) => header.slice(0, length % header.length)),
  fc.tuple(fc.constantFrom(...paths), fc.oneof(odd, fc.jsonValue())).map(([path, value]) => (header: string) => {
    const root = JSON.parse(atob(header)) as Json
    const parent = path.slice(0, -1).reduce((node, name) => node[name] as Json, root)
    parent[path.at(-1) ?? ''] = value
    return encodeHeader(root)
  }),
  fc
    .nat(8_000)
    .map((size) => (header: string) => header + header.repeat(Math.ceil(size / header.length)).slice(0, size)),
  printable.map((text) => () => text),
  fc.jsonValue().map((value) => () => encodeHeader(value)),
  // Bits of the bytes behind the base64.
  fc.tuple(fc.nat(2_000), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => (header: string) => {
    const bytes = Buffer.from(header, 'base64')
    const index = at % bytes.length
    bytes[index] = (bytes[index] ?? 0) ^ bits
    return bytes.toString('base64')
  }),
)

test('of 10,000 damaged payments none breaks the gateway, and as many are charged as are served', {
  timeout: 300_000,
}, async () => {
  const damages = fc.sample(mutation, mutations)
  const statuses = new Map<number, number>()
  const answered = new Set<string>()
  let sent = 0
  for (let start = 0; start < damages.length; start += atOnce) {
    const responses = await Promise.all(
      damages.slice(start, start + atOnce).map((damage) => {
        // One that happens to be whole is worth one call more than those before it.
        const header = damage(payment(gateway.service, price * BigInt(served + 1), newRequestId()))
        sent += 1
        return app.request('/weather/paris', paid(header))
      }),
    )
    for (const { status, headers } of responses) {
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      if (status === 200) answered.add(requestIdOf(headers.get('payment-response') ?? ''))
    }
  }
  expect(sent).toBe(mutations)
  for (const status of statuses.keys()) expect([200, 400, 402, 403, 409, 429]).toContain(status)
  // A request id that comes twice gets the first answer again.
  expect(answered.size).toBe(served)
  const charged = (await gateway.meter.read(account, grantId))?.channels[payee]?.charged ?? 0n
  expect(charged).toBe(price * BigInt(served))
  // Not everything is refused before it is looked at.
  expect(statuses.get(402) ?? 0).toBeGreaterThan(100)
  expect(statuses.get(400) ?? 0).toBeGreaterThan(100)
})

function requestIdOf(receipt: string): string {
  return JSON.parse(atob(receipt)).extra.requestId
}
