import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { answerAtHand } from './answerAtHand.ts'
import { paymentMiddleware } from './paymentMiddleware.ts'
import { createTestGateway, newRequestId, paid, payment, price, type TestGateway } from './testing/testGateway.ts'
import { startTestUpstream, type TestUpstream } from './testing/testUpstream.ts'

// Answers as a merchant's route makes them, over real connections: what is taken from the response itself has to be what
// the route gave, and what cannot be taken has to come all the same.

const bytes = Uint8Array.from({ length: 300 }, (_, index) => (index * 7) % 256)
const large = 'x'.repeat(100_000)
const routes: Record<string, { make(): Response; isAtHand: boolean }> = {
  json: { make: () => Response.json({ city: 'Zürich' }), isAtHand: true },
  text: { make: () => new Response('Grüße'), isAtHand: true },
  named: {
    make: () => new Response('<p>', { status: 201, headers: { 'Content-Type': 'text/html', 'X-Own': 'yes' } }),
    isAtHand: true,
  },
  bytes: {
    make: () => new Response(bytes, { headers: { 'content-type': 'image/png', 'content-length': '300' } }),
    isAtHand: true,
  },
  'headers object': {
    make: () => new Response('a', { headers: new Headers({ 'x-own': 'yes', 'cache-control': 'public' }) }),
    isAtHand: true,
  },
  pairs: { make: () => new Response('a', { headers: [['x-own', 'one']] }), isAtHand: true },
  empty: { make: () => new Response(null, { status: 204 }), isAtHand: true },
  large: { make: () => new Response(large, { headers: { 'content-type': 'text/plain' } }), isAtHand: true },
  cookies: {
    make: () => {
      const headers = new Headers([
        ['set-cookie', 'a=1'],
        ['set-cookie', 'b=2'],
      ])
      return new Response('a', { headers })
    },
    isAtHand: false,
  },
  'pairs of one name': {
    make: () => {
      const headers: [string, string][] = [
        ['x-own', 'one'],
        ['x-own', 'two'],
      ]
      return new Response('a', { headers })
    },
    isAtHand: false,
  },
  buffer: {
    make: () => new Response(bytes.buffer, { headers: { 'content-type': 'image/png', 'content-length': '300' } }),
    isAtHand: false,
  },
  stream: { make: () => new Response(new Blob(['a', 'b']).stream()), isAtHand: false },
}

let upstream: TestUpstream
let gateway: TestGateway
let server: ReturnType<typeof serve>
let url: string
const taken = new Map<string, boolean>()

beforeAll(async () => {
  upstream = await startTestUpstream()
  const app = new Hono()
  app.use('/weather/*', (c, next) =>
    paymentMiddleware({ gate: gateway.gate, serviceOf: () => gateway.service, publicUrl: 'http://a.test' })(c, next),
  )
  for (const [name, { make }] of Object.entries(routes)) {
    const path = name.replaceAll(' ', '-')
    app.get(`/free/${path}`, make)
    app.get(`/weather/${path}`, () => {
      const response = make()
      taken.set(name, answerAtHand(response) !== undefined)
      return response
    })
  }
  server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 })
  await new Promise((resolve) => server.once('listening', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
beforeEach(async () => {
  gateway = createTestGateway({ upstream: upstream.url })
  await gateway.ready()
})
afterAll(async () => {
  await new Promise((resolve) => server?.close(resolve))
  await upstream?.stop()
})

const own = ['payment-response', 'server-timing', 'cache-control', 'date']

/** What of an answer is the route's. */
async function givenBy(response: Response) {
  const headers = [...response.headers].filter(
    ([name]) => !own.includes(name) && !/^(connection|keep-alive)$/.test(name),
  )
  return { status: response.status, headers, body: Buffer.from(await response.arrayBuffer()).toString('latin1') }
}

test.each(Object.keys(routes))(
  'a paid answer (%s) is the free one with a receipt, and its retry is the same',
  async (name) => {
    const path = name.replaceAll(' ', '-')
    const free = await givenBy(await fetch(`${url}/free/${path}`))
    const request = { headers: paid(payment(gateway.service, price, newRequestId())).headers }
    const first = await fetch(`${url}/weather/${path}`, request)
    expect(first.headers.get('payment-response')).toMatch(/^ey/)
    expect(first.headers.get('cache-control')).toBe('private')
    expect(first.headers.get('server-timing')).toMatch(/^gateway;dur=\d/)
    const given = await givenBy(first)
    // Streams of a length that nobody knew may come in another framing.
    const framing = (all: [string, string][]) =>
      all.filter(([header]) => !/^(content-length|transfer-encoding)$/.test(header))
    expect({ ...given, headers: framing(given.headers) }).toEqual({ ...free, headers: framing(free.headers) })
    expect(taken.get(name)).toBe(routes[name]?.isAtHand)

    const again = await fetch(`${url}/weather/${path}`, request)
    // What was too large to keep was answered all the same, and is not charged again.
    if (name === 'large') return expect(again.status).toBe(409)
    expect(await givenBy(again)).toMatchObject({ status: free.status, body: free.body })
    expect(again.headers.get('payment-response')).toBe(first.headers.get('payment-response'))
  },
)

test('a response that somebody has begun to read is not at hand any more', async () => {
  const response = new Response('a')
  expect(answerAtHand(response)?.body).toBe('a')
  await response.text()
  expect(answerAtHand(response)).toBeUndefined()
})
