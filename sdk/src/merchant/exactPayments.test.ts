import type { RequestListener } from 'node:http'
import express from 'express'
import { Hono } from 'hono'
import { afterEach, expect, test, vi } from 'vitest'
import { listen } from '../testing/listen.ts'
import { problem, startTestGateway } from '../testing/startTestGateway.ts'
import { exactPayment } from '../testing/testExact.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import { PBStream, type PBStreamOptions } from './PBStream.ts'

const soon = { timeout: 60_000 }
const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function listenTo(handler: RequestListener): Promise<string> {
  const { url, close } = await listen(handler)
  closers.push(close)
  return url
}

function createStream(gatewayUrl: string, options: Partial<PBStreamOptions> = {}) {
  const errors: Error[] = []
  const onError = (error: Error) => void errors.push(error)
  const given = { apiKey: 'test-key', service: 'weather', ratePerCall: '0.02', gatewayUrl, onError, ...options }
  return { stream: new PBStream(given), errors }
}

async function setUp(handler: express.RequestHandler) {
  const { grant, sessionKey } = createTestGrant()
  const gateway = await startTestGateway({ grant, sessionKey })
  closers.push(gateway.close)
  const { stream, errors } = createStream(gateway.url)
  const app = express()
  app.use((_, res, next) => {
    res.setHeader('access-control-allow-origin', '*')
    next()
  })
  app.get('/paid', stream.middleware(), handler)
  const url = `${await listenTo(app)}/paid`
  const send = (payment: string) => fetch(url, { headers: { 'payment-signature': payment } })
  return { gateway, errors, send }
}

const handlers: [string, express.RequestHandler][] = [
  ['writeHead with headers', (_, res) => void res.writeHead(200, 'Fine', { 'x-own': 'yes' }).end('good')],
  [
    'write and end',
    (_, res) => {
      res.setHeader('x-own', 'yes')
      expect(res.write('go')).toBe(false)
      res.end('od')
    },
  ],
  [
    'flushHeaders',
    (_, res) => {
      res.setHeader('x-own', 'yes').flushHeaders()
      setTimeout(() => res.end('good'), 10)
    },
  ],
  [
    'waiting for drain',
    (_, res) => {
      res.setHeader('x-own', 'yes')
      if (res.write('go')) throw new Error('a held write must ask to wait')
      res.once('drain', () => res.end('od'))
    },
  ],
  [
    'a callback at its end',
    (_, res) => {
      res.setHeader('x-own', 'yes')
      res.write('go', () => res.end('od'))
    },
  ],
]

test.each(handlers)(
  'an answer by %s waits until it is settled, arrives whole, and is given again',
  async (_, handler) => {
    const { gateway, send } = await setUp(handler)
    for (let time = 0; time < 2; time++) {
      const answer = await send(exactPayment('one'))
      expect([answer.status, answer.headers.get('x-own'), await answer.text()]).toEqual([200, 'yes', 'good'])
      expect(answer.headers.get('payment-response')).toBe('moved one')
      await vi.waitFor(() => expect(gateway.reports.slice(0, 2)).toEqual(['settle x1', 'served x1']), soon)
    }
    expect(gateway.exact.debits).toBe(1)
  },
)

test.each(handlers)('of an answer by %s that is not settled nothing leaves but the refusal', async (_, handler) => {
  const { gateway, send } = await setUp(handler)
  gateway.exact.beforeSettling = () => problem(402, 'exact.settlement_failed')
  const answer = await send(exactPayment('one'))
  expect([answer.status, answer.headers.get('x-own')]).toEqual([402, null])
  expect(await answer.json()).toMatchObject({ code: 'exact.settlement_failed' })
  // What was set in front of the middleware stays: a page of another origin can read the refusal.
  expect(answer.headers.get('access-control-allow-origin')).toBe('*')
  expect(gateway.reports).toEqual(['settle x1'])
})

test('Hono keeps what was set in front of the middleware with a refusal', async () => {
  const { grant, sessionKey } = createTestGrant()
  const gateway = await startTestGateway({ grant, sessionKey })
  closers.push(gateway.close)
  gateway.exact.beforeSettling = () => problem(402, 'exact.settlement_failed')
  const app = new Hono()
  app.use(async (c, next) => {
    c.res.headers.set('access-control-allow-origin', '*')
    await next()
  })
  app.get('/paid', createStream(gateway.url).stream.middleware(), (c) => c.text('good', 200, { 'x-own': 'yes' }))
  const answer = await app.request('/paid', { headers: { 'payment-signature': exactPayment('one') } })
  expect([answer.status, answer.headers.get('x-own')]).toEqual([402, null])
  expect(answer.headers.get('access-control-allow-origin')).toBe('*')
  expect(answer.headers.get('content-type')).toContain('application/problem+json')
})

test('a handler that writes on and on while it is settled is cut, and its answer is owed', async () => {
  let isGreedy = true
  const { gateway, send } = await setUp((_, res) => {
    if (!isGreedy) return void res.end('good')
    for (let megabytes = 0; megabytes < 20; megabytes++) res.write(new Uint8Array(2 ** 20))
  })
  await expect(send(exactPayment('one'))).rejects.toThrow()
  await vi.waitFor(() => expect(gateway.reports).toEqual(['settle x1', 'release x1']), soon)
  isGreedy = false
  expect(await (await send(exactPayment('one'))).text()).toBe('good')
  expect(gateway.exact.debits).toBe(1)
})

test('a name that somebody else has chosen too opens no answer before the gateway has proved the payment', async () => {
  let calls = 0
  const { gateway, send } = await setUp((_, res) => void res.end(`answer ${++calls}`))
  const name = 'the-name-of-a-request'
  expect(await (await send(exactPayment('one', name))).text()).toBe('answer 1')
  await vi.waitFor(() => expect(gateway.reports).toEqual(['settle x1', 'served x1']), soon)
  const { charge } = gateway.exact
  // As a gateway answers while the payment is at another request, whoever has signed this one.
  gateway.exact.charge = () => ({ outcome: 'answer', ...problem(409, 'request.in_progress') })
  expect((await send(exactPayment('two', name))).status).toBe(409)
  // Another authorisation by the same payer, who is proved.
  gateway.exact.charge = () => ({ outcome: 'answer', ...problem(409, 'request.answered') })
  expect(await (await send(exactPayment('two', name))).text()).toBe('answer 1')
  gateway.exact.charge = charge
  expect(calls).toBe(1)
})

test('an answer whose report was lost is given again when it was settled, and not before', async () => {
  let calls = 0
  const { gateway, send } = await setUp((_, res) => void res.end(`answer ${++calls}`))
  const { report } = gateway.exact
  gateway.exact.report = (ticket) => ticket.startsWith('x')
  expect(await (await send(exactPayment('one'))).text()).toBe('answer 1')
  await vi.waitFor(() => expect(gateway.reports).toEqual(['settle x1', 'served x1']), soon)
  gateway.exact.report = report
  const settled = gateway.exact.settle
  gateway.exact.settle = async () => ({ outcome: 'answer', ...problem(503, 'exact.settlement_pending') })
  expect((await send(exactPayment('one'))).status).toBe(503)
  gateway.exact.settle = settled
  expect(await (await send(exactPayment('one'))).text()).toBe('answer 1')
  await vi.waitFor(() => expect(gateway.reports.at(-1)).toMatch(/^served x/), soon)
  expect([calls, gateway.exact.debits]).toEqual([1, 1])
})

test.each<[string, string | undefined]>([
  ['no JSON', 'ok'],
  ['an unknown outcome', '{"outcome":"free","headers":{}}'],
  ['no headers', '{"outcome":"settled"}'],
  ['an answer without a status', '{"outcome":"answer","headers":{},"body":""}'],
  ['nothing in time', undefined],
])('a gateway that answers a settlement with %s gives 503, and the charge is given up', async (_, body) => {
  const asked: string[] = []
  const gatewayUrl = await listenTo((request, response) => {
    const path = request.url?.split('/').at(-1) ?? ''
    asked.push(path)
    if (path === 'charges') {
      response.end(JSON.stringify({ outcome: 'charged', ticket: 't1', headers: {}, settleSeconds: 3 }))
    } else if (path === 'release') response.end('{}')
    else if (body !== undefined) response.end(body)
  })
  const { stream, errors } = createStream(gatewayUrl, { timeoutMs: 60_000 })
  const route = stream.route(() => new Response('good'))
  const request = new Request('http://merchant.test/paid', { headers: { 'payment-signature': exactPayment('one') } })
  const answer = await route(request)
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
  expect(await answer.json()).toMatchObject({ code: 'exact.settlement_unknown' })
  await vi.waitFor(() => expect(asked).toEqual(['charges', 'settle', 'release']), soon)
  expect(errors).toHaveLength(1)
})

test('a connection that breaks in a settlement is tried again', async () => {
  const { gateway, send, errors } = await setUp((_, res) => void res.end('good'))
  let times = 0
  gateway.exact.beforeSettling = () => {
    if (++times === 1) throw new Error('broken')
    return undefined
  }
  expect(await (await send(exactPayment('one'))).text()).toBe('good')
  expect([gateway.exact.debits, errors]).toEqual([1, []])
})

test('everything about one charge says the same to a load balancer, and about another something else', async () => {
  const asked: { path: string; route: unknown }[] = []
  const gatewayUrl = await listenTo((request, response) => {
    let text = ''
    request.on('data', (chunk) => (text += chunk))
    request.on('end', () => {
      const [, , , , what = 'charge'] = request.url?.split('/') ?? []
      asked.push({ path: what, route: request.headers['payment-signature'] })
      if (what === 'settle') return response.end('{"outcome":"settled","headers":{}}')
      if (what !== 'charge') return response.end('{}')
      const { ticket } = JSON.parse(text)
      response.end(JSON.stringify({ outcome: 'charged', ticket, headers: {}, settleSeconds: 1 }))
    })
  })
  const route = createStream(gatewayUrl).stream.route(() => new Response('good'))
  for (const nonce of ['one', 'two']) {
    await route(new Request('http://merchant.test/paid', { headers: { 'payment-signature': exactPayment(nonce) } }))
  }
  await vi.waitFor(() => expect(asked).toHaveLength(6), soon)
  const routes = asked.map(({ route }) => route)
  expect(new Set(routes).size).toBe(2)
  for (const one of new Set(routes)) {
    const paths = asked.filter(({ route }) => route === one).map(({ path }) => path)
    expect(paths).toEqual(['charge', 'settle', 'served'])
  }
})
