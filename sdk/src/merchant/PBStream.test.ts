import { createHash } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type Express } from 'express'
import { Hono } from 'hono'
import { afterEach, describe, expect, test } from 'vitest'
import { createPayingFetch } from '../agent/createPayingFetch.ts'
import { problem, startTestGateway, type TestGateway } from '../testing/startTestGateway.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import { PBStream, type PBStreamOptions } from './PBStream.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** What the merchant's handler does with a call of `/paid`. */
type Behaviour = { answer: unknown; status?: number } | { fail: Error } | { stream: string[] }

type Merchant = {
  /** Sends a request to the merchant's app. */
  call: typeof fetch
  url: string
  bodies: unknown[]
}

type CreateMerchant = (stream: PBStream, behave: () => Behaviour | Promise<Behaviour>) => Promise<Merchant>

async function listen(handler: RequestListener): Promise<string> {
  const server = createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const honoMerchant: CreateMerchant = async (stream, behave) => {
  const bodies: unknown[] = []
  const app = new Hono()
  app.use('/paid/*', stream.middleware())
  app.all('/paid/*', async (c) => {
    const text = await c.req.text()
    bodies.push(text === '' ? undefined : JSON.parse(text))
    const behaviour = await behave()
    if ('fail' in behaviour) throw behaviour.fail
    if ('answer' in behaviour) return c.json({ answer: behaviour.answer }, (behaviour.status ?? 200) as 200)
    const encoder = new TextEncoder()
    const body = new ReadableStream({
      start(controller) {
        for (const part of behaviour.stream) controller.enqueue(encoder.encode(part))
        controller.close()
      },
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  })
  app.onError((error, c) => c.text(`failed: ${error.message}`, 500))
  // As Hono's server for Node tells who is connected.
  const env = { incoming: { socket: { remoteAddress: '127.0.0.1' } } }
  return { call: async (input, init) => app.request(input as string, init, env), url: 'http://merchant.test', bodies }
}

const expressMerchant: CreateMerchant = async (stream, behave) => {
  const bodies: unknown[] = []
  const app: Express = express()
  app.use(express.json())
  app.use('/paid', stream.middleware())
  app.use('/paid', async (req, res) => {
    bodies.push(req.body)
    const behaviour = await behave()
    if ('fail' in behaviour) throw behaviour.fail
    if ('answer' in behaviour) return void res.status(behaviour.status ?? 200).json({ answer: behaviour.answer })
    res.setHeader('content-type', 'text/event-stream')
    for (const part of behaviour.stream) res.write(part)
    res.end()
  })
  app.use((error: Error, _: express.Request, res: express.Response, __: express.NextFunction) => {
    res.status(500).send(`failed: ${error.message}`)
  })
  return { call: fetch, url: await listen(app), bodies }
}

const key = createTestGrant()

async function setUp(
  createMerchant: CreateMerchant,
  behave: (gateway: TestGateway) => Behaviour | Promise<Behaviour> = () => ({ answer: 42 }),
  options: Partial<PBStreamOptions> = {},
) {
  const { grant, privateKey, sessionKey } = key
  const gateway = await startTestGateway({ grant, sessionKey })
  closers.push(gateway.close)
  const errors: Error[] = []
  const stream = new PBStream({
    apiKey: 'test-key',
    service: 'weather',
    ratePerCall: '0.02',
    gatewayUrl: `${gateway.url}/`,
    onError: (error) => errors.push(error),
    ...options,
  })
  const merchant = await createMerchant(stream, () => behave(gateway))
  const payingFetch = createPayingFetch({ grant, sessionKey: privateKey, fetch: merchant.call })
  return { gateway, merchant, payingFetch, errors }
}

async function reported(gateway: TestGateway, ...reports: string[]): Promise<void> {
  await expect.poll(() => gateway.reports).toEqual(reports)
}

describe.each([
  ['Hono', honoMerchant],
  ['Express', expressMerchant],
])('%s', (name, createMerchant) => {
  test('a paid call is served with its receipt, charged ratePerCall once, and reported as served', async () => {
    const { gateway, merchant, payingFetch, errors } = await setUp(createMerchant)
    const body = '{"city":"Oslo"}'
    const headers = { 'content-type': 'application/json', 'content-length': `${body.length}` }
    const answer = await payingFetch(`${merchant.url}/paid/x?q=1`, { method: 'POST', body, headers })
    expect([answer.status, await answer.json()]).toEqual([200, { answer: 42 }])
    expect(answer.headers.get('payment-response')).toBeTruthy()
    expect(answer.headers.get('cache-control')).toBe('private')
    expect(gateway.charged).toBe(20_000n)
    expect(merchant.bodies).toEqual([{ city: 'Oslo' }])
    await reported(gateway, 'served t1')
    expect(gateway.arrivals[0]).toMatchObject({ method: 'POST', path: `${merchant.url}/paid/x?q=1` })
    expect(JSON.parse(gateway.arrivals[0]?.body ?? '')).toMatchObject({
      service: 'weather',
      amountAtomic: '20000',
      bodyHash: createHash('sha256').update(body).digest('hex'),
      clientAddress: expect.stringContaining('127.0.0.1'),
    })
    expect(errors).toEqual([])
  })

  test('twenty calls at once are charged twenty times', async () => {
    const { gateway, merchant, payingFetch } = await setUp(createMerchant)
    const answers = await Promise.all(Array.from({ length: 20 }, () => payingFetch(`${merchant.url}/paid/x`)))
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200))
    expect(gateway.charged).toBe(400_000n)
    await expect.poll(() => gateway.reports).toHaveLength(20)
  })

  test('without a payment the answer is the 402 of the gateway, and the handler does not run', async () => {
    const { gateway, merchant } = await setUp(createMerchant)
    const answer = await merchant.call(`${merchant.url}/paid/x`)
    expect([answer.status, await answer.json()]).toMatchObject([402, { code: 'payment.required' }])
    expect(answer.headers.get('payment-required')).toBeTruthy()
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(merchant.bodies).toEqual([])
    expect(gateway.reports).toEqual([])
  })

  test('a refused payment is answered as the gateway says, and the handler does not run', async () => {
    const { gateway, merchant, payingFetch } = await setUp(createMerchant)
    gateway.refuse = () => problem(402, 'grant.frozen')
    await expect(payingFetch(`${merchant.url}/paid/x`)).rejects.toMatchObject({ code: 'grant.frozen' })
    expect(merchant.bodies).toEqual([])
    expect(gateway.charged).toBe(0n)
  })

  test('a 5xx of the handler is released before it leaves, and carries no receipt', async () => {
    const { gateway, merchant, payingFetch } = await setUp(createMerchant, () => ({ answer: 'broken', status: 500 }))
    const answer = await payingFetch(`${merchant.url}/paid/x`)
    expect(gateway.reports).toEqual(['release t1'])
    expect([answer.status, await answer.json()]).toEqual([500, { answer: 'broken' }])
    expect(answer.headers.get('payment-response')).toBe(null)
    expect(gateway.charged).toBe(0n)
  })

  test('a handler that throws is released before its answer leaves', async () => {
    const { gateway, merchant, payingFetch } = await setUp(createMerchant, () => ({ fail: new Error('no data') }))
    const answer = await payingFetch(`${merchant.url}/paid/x`)
    expect(gateway.reports).toEqual(['release t1'])
    expect([answer.status, await answer.text()]).toEqual([500, 'failed: no data'])
    expect(answer.headers.get('payment-response')).toBe(null)
  })

  test('a 4xx of the handler is an answer and stays charged', async () => {
    const { gateway, merchant, payingFetch } = await setUp(createMerchant, () => ({
      answer: 'no such city',
      status: 404,
    }))
    const answer = await payingFetch(`${merchant.url}/paid/x`)
    expect(answer.status).toBe(404)
    expect(answer.headers.get('payment-response')).toBeTruthy()
    await reported(gateway, 'served t1')
    expect(gateway.charged).toBe(20_000n)
  })

  test('a streaming answer carries the receipt in its head', async () => {
    const { gateway, merchant, payingFetch } = await setUp(createMerchant, () => ({
      stream: ['data: 1\n\n', 'data: 2\n\n'],
    }))
    const answer = await payingFetch(`${merchant.url}/paid/x`)
    expect(answer.headers.get('payment-response')).toBeTruthy()
    expect(await answer.text()).toBe('data: 1\n\ndata: 2\n\n')
    await reported(gateway, 'served t1')
  })

  test('with the gateway gone a call is answered 503, never served for free', async () => {
    const { gateway, merchant, errors } = await setUp(createMerchant)
    await gateway.close()
    const answer = await merchant.call(`${merchant.url}/paid/x`, { headers: { 'payment-signature': 'e30=' } })
    expect(answer.status).toBe(503)
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    expect(answer.headers.get('retry-after')).toBe('1')
    expect(await answer.json()).toMatchObject({ code: 'gateway.unavailable', status: 503 })
    expect(merchant.bodies).toEqual([])
    expect(errors).toHaveLength(1)
  })

  test('a gateway that does not answer in time is a 503', async () => {
    const url = await listen(() => undefined)
    const { merchant } = await setUp(createMerchant, undefined, { gatewayUrl: url, timeoutMs: 100 })
    expect((await merchant.call(`${merchant.url}/paid/x`)).status).toBe(503)
    expect(merchant.bodies).toEqual([])
  })

  test.each([
    ['no JSON', 'ok'],
    ['an unknown outcome', '{"outcome":"free","headers":{}}'],
    ['a charge without a ticket', '{"outcome":"charged","headers":{}}'],
    ['an answer without a status', '{"outcome":"answer","headers":{},"body":""}'],
    ['headers that are not text', '{"outcome":"charged","ticket":"t","headers":{"x":1}}'],
  ])('a gateway that answers %s is a 503', async (_, body) => {
    const url = await listen((_, response) => response.end(body))
    const { merchant, errors } = await setUp(createMerchant, undefined, { gatewayUrl: url })
    expect((await merchant.call(`${merchant.url}/paid/x`)).status).toBe(503)
    expect(merchant.bodies).toEqual([])
    expect(errors[0]).toMatchObject({ code: 'gateway.answer' })
  })

  test('a wrong API key is told to the merchant, not to the agent', async () => {
    const { merchant, errors } = await setUp(createMerchant, undefined, { apiKey: 'pb_wrong' })
    const answer = await merchant.call(`${merchant.url}/paid/x`)
    expect(answer.status).toBe(503)
    expect(await answer.text()).not.toMatch(/api.?key/i)
    expect(errors[0]?.message).toContain('Status: 401')
    expect(errors[0]?.message).toContain('Check the API key and its merchant.')
    expect(errors[0]?.message).not.toContain('pb_wrong')
  })

  test('a release that fails does not hold the answer back; it is tried again, and told when it stays so', async () => {
    let releases = 0
    const charged = JSON.stringify({ outcome: 'charged', ticket: 't1', headers: {} })
    const url = await listen((request, response) => {
      if (request.url === '/api/charges') return void response.end(charged)
      releases++
      response.writeHead(500).end()
    })
    const { merchant, errors } = await setUp(createMerchant, () => ({ answer: 'broken', status: 500 }), {
      gatewayUrl: url,
    })
    expect((await merchant.call(`${merchant.url}/paid/x`)).status).toBe(500)
    expect(errors).toEqual([])
    await expect.poll(() => errors[0]?.message).toContain('Ticket: t1\nTries: 3')
    expect(releases).toBe(3)
  })

  test(`${name} goes on serving what is not paid`, async () => {
    const { gateway, merchant } = await setUp(createMerchant)
    expect((await merchant.call(`${merchant.url}/other`)).status).toBe(404)
    expect(gateway.unpaid).toBe(0)
  })
})

describe('Express, further', () => {
  async function withHandler(handler: express.RequestHandler) {
    return setUp(async (stream) => {
      const app = express()
      app.get('/paid/x', stream.middleware(), handler)
      return { call: fetch, url: await listen(app), bodies: [] }
    })
  }

  test.each<[string, express.RequestHandler]>([
    ['writeHead with headers', (_, res) => void res.writeHead(503, { 'x-own': 'yes' }).end('late')],
    [
      'write and end',
      (_, res) => {
        res.status(503).setHeader('x-own', 'yes')
        expect(res.write('la')).toBe(false)
        res.end('te')
      },
    ],
    [
      'flushHeaders',
      (_, res) => {
        res.status(503).setHeader('x-own', 'yes')
        res.flushHeaders()
        res.end('late')
      },
    ],
    [
      'waiting for drain',
      (_, res) => {
        res.status(503).setHeader('x-own', 'yes')
        if (res.write('la')) throw new Error('a held write must ask to wait')
        res.once('drain', () => res.end('te'))
      },
    ],
  ])('a 5xx by %s is held back until it is released, and arrives whole', async (_, handler) => {
    const { gateway, merchant, payingFetch } = await withHandler(handler)
    const answer = await payingFetch(`${merchant.url}/paid/x`)
    expect(gateway.reports).toEqual(['release t1'])
    expect([answer.status, answer.headers.get('x-own'), await answer.text()]).toEqual([503, 'yes', 'late'])
    expect(answer.headers.get('payment-response')).toBe(null)
  })

  test.each<[string, express.RequestHandler]>([
    ['writeHead with headers', (_, res) => void res.writeHead(200, { 'x-own': 'yes' }).end('good')],
    ['writeHead with a reason', (_, res) => void res.writeHead(200, 'Fine', { 'x-own': 'yes' }).end('good')],
    [
      'flushHeaders',
      (_, res) => {
        res.setHeader('x-own', 'yes').flushHeaders()
        setTimeout(() => res.end('good'), 10)
      },
    ],
  ])('a good answer by %s carries the receipt', async (_, handler) => {
    const { gateway, merchant, payingFetch } = await withHandler(handler)
    const answer = await payingFetch(`${merchant.url}/paid/x`)
    expect([answer.status, answer.headers.get('x-own'), await answer.text()]).toEqual([200, 'yes', 'good'])
    expect(answer.headers.get('payment-response')).toBeTruthy()
    await reported(gateway, 'served t1')
  })

  test('an agent that leaves before the answer is not charged', async () => {
    const controller = new AbortController()
    const { gateway, merchant, payingFetch } = await withHandler(async (_, res) => {
      controller.abort()
      await new Promise((resolve) => res.once('close', resolve))
      res.json({ answer: 'nobody reads this' })
    })
    await expect(payingFetch(`${merchant.url}/paid/x`, { signal: controller.signal })).rejects.toThrow('aborted')
    await reported(gateway, 'release t1')
    expect(gateway.charged).toBe(0n)
  })
})

test.each<[string, Partial<PBStreamOptions>, string]>([
  ['an empty API key', { apiKey: '' }, 'apiKey is empty.'],
  ['an empty service', { service: '' }, 'service is empty.'],
  ['a rate that is no decimal', { ratePerCall: '1e-2' }, 'Amount: 1e-2'],
  ['a rate finer than the token', { ratePerCall: '0.0000001' }, 'The token has 6 decimals.'],
  ['a gateway that is no URL', { gatewayUrl: 'gateway' }, 'gatewayUrl is "gateway", not an http(s) URL.'],
])('%s is refused at start', (_, options, message) => {
  expect(() => new PBStream({ apiKey: 'k', service: 's', ratePerCall: '0.01', ...options })).toThrow(message)
})
