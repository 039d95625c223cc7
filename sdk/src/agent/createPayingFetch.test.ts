import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encodeHeader, type Voucher } from '@protocolbanks/stream-protocol'
import { afterEach, expect, test } from 'vitest'
import { problem, startTestGateway, type TestGateway, type TestGatewayOptions } from '../testing/startTestGateway.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import type { Receipt } from './answer.ts'
import { createPayingFetch, type PayingFetchOptions } from './createPayingFetch.ts'
import {
  ChargeDisputedError,
  HostNotAllowedError,
  LimitExceededError,
  PaymentRedirectedError,
  PaymentRefusedError,
} from './errors.ts'
import type { AgentGrant } from './grant.ts'
import { OfferUnmatchedError } from './offer.ts'
import { toSigner } from './signer.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

type Setup = {
  gateway: TestGateway
  payingFetch: typeof fetch
  receipts: Receipt[]
  vouchers: Voucher[]
  slept: number[]
  /** Another agent process with the same grant. */
  restart(options?: Partial<PayingFetchOptions>): typeof fetch
}

async function setUp({
  gateway: gatewayOptions = {},
  agent = {},
  grant: grantFields = {},
}: {
  gateway?: Partial<TestGatewayOptions>
  agent?: Partial<PayingFetchOptions>
  grant?: Partial<AgentGrant>
} = {}): Promise<Setup> {
  const { grant, privateKey, sessionKey } = createTestGrant(grantFields)
  const gateway = await startTestGateway({ grant, sessionKey, ...gatewayOptions })
  closers.push(gateway.close)
  const receipts: Receipt[] = []
  const vouchers: Voucher[] = []
  const slept: number[] = []
  const signer = toSigner(privateKey, grant)
  const restart = (options: Partial<PayingFetchOptions> = {}) =>
    createPayingFetch({
      grant,
      sessionKey: {
        address: signer.address,
        sign(voucher) {
          vouchers.push(voucher)
          return signer.sign(voucher)
        },
      },
      onReceipt: (receipt) => receipts.push(receipt),
      sleep: async (ms) => void slept.push(ms),
      random: () => 1,
      ...options,
    })
  return { gateway, receipts, vouchers, slept, restart, payingFetch: restart(agent) }
}

async function startServer(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handle)
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

const range = (length: number) => Array.from({ length }, (_, index) => index)

/** A fixed shuffle: by a linear congruential sequence. */
function shuffled<item>(items: item[]): item[] {
  let seed = 12_345
  return items
    .map((item) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
      return { item, seed }
    })
    .sort((a, b) => a.seed - b.seed)
    .map(({ item }) => item)
}

test('fifty concurrent first calls ask for the price exactly once, and each is charged once', async () => {
  const { gateway, payingFetch, receipts } = await setUp()
  const answers = await Promise.all(range(50).map((city) => payingFetch(`${gateway.url}/paid/${city}?x=${city}`)))
  expect(await Promise.all(answers.map((answer) => answer.text()))).toEqual(
    range(50).map((city) => `served /paid/${city}?x=${city}`),
  )
  expect(gateway.unpaid).toBe(1)
  expect(gateway.arrivals).toHaveLength(50)
  expect(new Set(gateway.arrivals.map(({ requestId }) => requestId)).size).toBe(50)
  expect(gateway.charged).toBe(500_000n)
  expect(receipts.reduce((sum, { amountAtomic }) => sum + amountAtomic, 0n)).toBe(500_000n)

  await payingFetch(`${gateway.url}/paid/elsewhere`)
  expect(gateway.unpaid).toBe(1)
})

test('sixty-four calls in flight all fit, in whatever order they reach the meter', async () => {
  const waiting: (() => void)[] = []
  const { gateway, payingFetch } = await setUp({
    gateway: {
      async onArrival({ number }) {
        if (number === 1) return
        await new Promise<void>((resolve) => {
          waiting.push(resolve)
          if (waiting.length === 64) for (const go of shuffled(waiting)) go()
        })
      },
    },
  })
  await payingFetch(`${gateway.url}/paid`)
  const answers = await Promise.all(range(64).map(() => payingFetch(`${gateway.url}/paid`)))
  expect(answers.every(({ status }) => status === 200)).toBe(true)
  expect(gateway.arrivals).toHaveLength(65)
  expect(gateway.charged).toBe(650_000n)
  expect(gateway.authorized).toBe(650_000n)
})

test('a lost answer is asked for again with the same id and voucher, and costs nothing more', async () => {
  const { gateway, payingFetch, receipts, vouchers, slept } = await setUp({
    gateway: { onCharged: ({ number }) => (number === 1 ? 'cut' : 'answer') },
  })
  const answer = await payingFetch(`${gateway.url}/paid`, { method: 'POST', body: 'order' })
  expect(await answer.text()).toBe('served /paid')
  const [first, second] = gateway.arrivals
  expect(gateway.arrivals).toHaveLength(2)
  expect(second).toMatchObject({
    requestId: first?.requestId,
    cumulativeAmount: first?.cumulativeAmount,
    body: 'order',
  })
  expect(vouchers).toHaveLength(1)
  expect(gateway.charged).toBe(10_000n)
  expect(receipts).toHaveLength(1)
  expect(slept).toEqual([200])
})

test('after three lost answers it gives up, counts the call as charged, and learns better from the next one', async () => {
  const { gateway, payingFetch, vouchers } = await setUp({
    gateway: { onCharged: ({ number }) => (number <= 3 ? 'cut' : 'answer') },
  })
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toThrow('fetch failed')
  expect(gateway.arrivals).toHaveLength(3)
  expect(gateway.charged).toBe(10_000n)
  await payingFetch(`${gateway.url}/paid`)
  expect(vouchers.map(({ cumulativeAmount }) => cumulativeAmount)).toEqual([10_000n, 20_000n])
  expect(gateway.charged).toBe(20_000n)
})

test('a server that does not answer in time counts as lost', async () => {
  let second = () => {}
  const untilSecond = new Promise<void>((resolve) => {
    second = resolve
  })
  const { gateway, payingFetch } = await setUp({
    gateway: {
      onArrival({ number }) {
        if (number === 1) return untilSecond
        second()
      },
    },
    agent: { answerTimeoutMs: 2_000 },
  })
  const answer = await payingFetch(`${gateway.url}/paid`)
  expect(answer.status).toBe(200)
  expect(gateway.arrivals.length).toBeGreaterThan(1)
  expect(gateway.charged).toBe(10_000n)
})

test('a stream is sent once only: its price is asked for without it, and its lost answer is not asked for again', async () => {
  const { gateway, payingFetch } = await setUp({ gateway: { onCharged: () => 'cut' } })
  const body = new Blob(['a', 'b', 'c']).stream()
  const init = { method: 'POST', body, duplex: 'half' } as RequestInit
  await expect(payingFetch(`${gateway.url}/paid`, init)).rejects.toThrow('fetch failed')
  expect(gateway.unpaid).toBe(1)
  expect(gateway.arrivals.map(({ method, body }) => [method, body])).toEqual([['POST', 'abc']])
})

test.each([
  ['a string', () => 'text', 'text', 'text/plain;charset=UTF-8'],
  ['bytes', () => new Uint8Array([104, 105]), 'hi', undefined],
  ['an array buffer', () => new Uint8Array([104, 105]).buffer, 'hi', undefined],
  [
    'search parameters',
    () => new URLSearchParams({ a: 'b c' }),
    'a=b+c',
    'application/x-www-form-urlencoded;charset=UTF-8',
  ],
  ['a blob', () => new Blob(['x'], { type: 'text/csv' }), 'x', 'text/csv'],
])('%s is sent again as it was', async (_, createBody, text, contentType) => {
  const { gateway, payingFetch } = await setUp({
    gateway: { onCharged: ({ number }) => (number === 1 ? 'cut' : 'answer') },
  })
  await payingFetch(`${gateway.url}/paid`, { method: 'PUT', body: createBody() })
  expect(gateway.arrivals.map(({ body }) => body)).toEqual([text, text])
  expect(gateway.arrivals.map(({ headers }) => headers['content-type'])).toEqual([contentType, contentType])
})

test('a form is encoded once, so that a retry is the same request', async () => {
  const { gateway, payingFetch } = await setUp({
    gateway: { onCharged: ({ number }) => (number === 1 ? 'cut' : 'answer') },
  })
  const form = new FormData()
  form.set('city', 'Oslo')
  await payingFetch(`${gateway.url}/paid`, { method: 'POST', body: form })
  const [first, second] = gateway.arrivals
  expect(first?.body).toContain('Oslo')
  expect(first?.headers['content-type']).toMatch(/^multipart\/form-data; ?boundary=/)
  expect(second).toMatchObject({ body: first?.body, headers: { 'content-type': first?.headers['content-type'] } })
})

test('a Request object keeps its method, headers and body, also on a retry', async () => {
  const { gateway, payingFetch } = await setUp({
    gateway: { onCharged: ({ number }) => (number === 1 ? 'cut' : 'answer') },
  })
  const request = new Request(`${gateway.url}/paid`, {
    method: 'PATCH',
    body: JSON.stringify({ city: 'Oslo' }),
    headers: { 'content-type': 'application/json', 'x-trace': 'abc' },
  })
  expect((await payingFetch(request)).status).toBe(200)
  expect(gateway.arrivals).toHaveLength(2)
  for (const { method, body, headers } of gateway.arrivals) {
    expect([method, body, headers['content-type'], headers['x-trace']]).toEqual([
      'PATCH',
      '{"city":"Oslo"}',
      'application/json',
      'abc',
    ])
  }
})

test('a Request with a body above the buffer arrives whole', async () => {
  const { gateway, payingFetch } = await setUp()
  const body = 'x'.repeat(3 * 1024 * 1024)
  await payingFetch(new Request(`${gateway.url}/paid`, { method: 'POST', body }))
  expect(gateway.arrivals.map((arrival) => arrival.body === body)).toEqual([true])
})

test('a passing 503 is waited out as Retry-After says, with the same id', async () => {
  const { gateway, payingFetch, slept } = await setUp()
  await payingFetch(`${gateway.url}/paid`)
  gateway.refuse = () => (slept.length === 0 ? problem(503, 'meter.unavailable', { 'retry-after': '2' }) : undefined)
  expect((await payingFetch(`${gateway.url}/paid`)).status).toBe(200)
  expect(slept).toEqual([2_000])
})

test.each([
  [503, 'chain.stale', 3],
  [409, 'request.in_progress', 3],
  [409, 'request.conflict', 1],
])('%i %s is sent %i times at most, then refused with its code', async (status, code, sends) => {
  const { gateway, payingFetch } = await setUp()
  let refused = 0
  gateway.refuse = () => {
    refused++
    return problem(status, code)
  }
  const call = payingFetch(`${gateway.url}/paid`)
  await expect(call).rejects.toMatchObject({ name: 'PaymentRefusedError', code, status, retryable: sends === 3 })
  expect(refused).toBe(sends)
})

test('a retryable problem of the service itself is returned after the last try', async () => {
  const { gateway, payingFetch } = await setUp({
    gateway: {
      onCharged: () => ({
        status: 502,
        headers: { 'content-type': 'application/problem+json' },
        body: problem(502, 'upstream.failed').body,
      }),
    },
  })
  const answer = await payingFetch(`${gateway.url}/paid`)
  expect(answer.status).toBe(502)
  expect(await answer.json()).toMatchObject({ code: 'upstream.failed' })
  expect(new Set(gateway.arrivals.map(({ requestId }) => requestId)).size).toBe(1)
  expect(gateway.arrivals).toHaveLength(3)
  expect(gateway.charged).toBe(0n)
})

test('a 5xx of the service is returned, and its amount is spent by the next call', async () => {
  const { gateway, payingFetch, vouchers } = await setUp({
    gateway: { onCharged: ({ number }) => (number === 1 ? { status: 500, body: 'broken' } : 'answer') },
  })
  const answer = await payingFetch(`${gateway.url}/paid`)
  expect([answer.status, await answer.text()]).toEqual([500, 'broken'])
  await payingFetch(`${gateway.url}/paid`)
  expect(vouchers.map(({ cumulativeAmount }) => cumulativeAmount)).toEqual([10_000n, 10_000n])
})

test('a changed price is signed again with the same id', async () => {
  const { gateway, payingFetch, vouchers } = await setUp()
  await payingFetch(`${gateway.url}/paid`)
  gateway.price = 30_000n
  expect((await payingFetch(`${gateway.url}/paid`)).status).toBe(200)
  expect(gateway.unpaid).toBe(1)
  expect(gateway.charged).toBe(40_000n)
  expect(vouchers.map(({ cumulativeAmount }) => cumulativeAmount)).toEqual([10_000n, 20_000n, 40_000n])
  await payingFetch(`${gateway.url}/paid`)
  expect(vouchers).toHaveLength(4)
})

test('a changed price above maxPerCall is not signed', async () => {
  const { gateway, payingFetch, vouchers } = await setUp({ agent: { limits: { maxPerCall: '0.02' } } })
  await payingFetch(`${gateway.url}/paid`)
  gateway.price = 30_000n
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toMatchObject({
    name: 'LimitExceededError',
    limit: 'maxPerCall',
    limitAtomic: 20_000n,
    neededAtomic: 30_000n,
  })
  expect(vouchers).toHaveLength(2)
  expect(gateway.charged).toBe(10_000n)
})

test('a new process with a used grant learns what was charged and goes on, with many calls at once', async () => {
  const { gateway, restart, receipts } = await setUp()
  gateway.charged = 1_234_567n
  gateway.authorized = 1_300_000n
  const payingFetch = restart()
  const answers = await Promise.all(range(20).map(() => payingFetch(`${gateway.url}/paid`)))
  expect(answers.every(({ status }) => status === 200)).toBe(true)
  expect(gateway.charged).toBe(1_434_567n)
  expect(new Set(gateway.arrivals.map(({ requestId }) => requestId)).size).toBe(20)
  expect(receipts).toHaveLength(20)
  // Never a second resync of one call, and none once the channel is known.
  expect(gateway.arrivals.length).toBeLessThanOrEqual(40)
  const before = gateway.arrivals.length
  await Promise.all(range(20).map(() => payingFetch(`${gateway.url}/paid`)))
  expect(gateway.arrivals.length).toBe(before + 20)
})

test('what earlier processes spent counts for maxTotal and for the total limit of the grant', async () => {
  const { gateway, restart, vouchers } = await setUp({ grant: { totalLimit: 100_000n } })
  gateway.charged = 95_000n
  gateway.authorized = 95_000n
  await expect(restart()(`${gateway.url}/paid`)).rejects.toMatchObject({
    limit: 'grantTotalLimit',
    limitAtomic: 100_000n,
    neededAtomic: 105_000n,
  })
  await expect(restart({ limits: { maxTotal: 99_999n } })(`${gateway.url}/paid`)).rejects.toMatchObject({
    limit: 'maxTotal',
    neededAtomic: 105_000n,
  })
  expect(vouchers.every(({ cumulativeAmount }) => cumulativeAmount <= 99_999n)).toBe(true)
})

test('a price above maxPerCall is not signed, and the error says what to do', async () => {
  const { gateway, payingFetch, vouchers } = await setUp({ agent: { limits: { maxPerCall: '0.009' } } })
  const call = payingFetch(`${gateway.url}/paid`)
  await expect(call).rejects.toThrow(LimitExceededError)
  await expect(call).rejects.toThrow(
    `The call would go above the agent's maxPerCall.\nURL: ${gateway.url}/paid\nLimit: 0.009 (9000 base units)\n` +
      'Needed: 0.01 (10000 base units)\nCall a cheaper service, or raise limits.maxPerCall.',
  )
  expect([vouchers.length, gateway.arrivals.length]).toEqual([0, 0])
})

test('concurrent calls share maxTotal: as many are made as fit, not one more', async () => {
  const { gateway, payingFetch } = await setUp({ agent: { limits: { maxTotal: '0.05' } } })
  const calls = await Promise.allSettled(range(20).map(() => payingFetch(`${gateway.url}/paid`)))
  expect(calls.filter(({ status }) => status === 'fulfilled')).toHaveLength(5)
  expect(gateway.charged).toBe(50_000n)
  expect(gateway.authorized).toBe(50_000n)
})

test('maxPerHour slides: an hour later there is room again', async () => {
  let nowMs = 1_800_000_000_000
  const { gateway, payingFetch } = await setUp({ agent: { limits: { maxPerHour: '0.02' }, clock: () => nowMs } })
  await payingFetch(`${gateway.url}/paid`)
  nowMs += 1_800_000
  await payingFetch(`${gateway.url}/paid`)
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toMatchObject({ limit: 'maxPerHour', limitAtomic: 20_000n })
  nowMs += 1_810_000
  expect((await payingFetch(`${gateway.url}/paid`)).status).toBe(200)
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toMatchObject({ limit: 'maxPerHour' })
})

test('only allowed hosts are paid; what is free elsewhere stays free', async () => {
  const { gateway, payingFetch, restart, vouchers } = await setUp({
    agent: { limits: { allowedHosts: ['api.example.com'] } },
  })
  const { host } = new URL(gateway.url)
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toThrow(HostNotAllowedError)
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toThrow(`Host: ${host}\nAllowed: api.example.com`)
  expect(await (await payingFetch(`${gateway.url}/free`)).text()).toBe('free')
  expect(vouchers).toHaveLength(0)
  for (const allowed of [host, '127.0.0.1']) {
    const allowedFetch = restart({ limits: { allowedHosts: [allowed] } })
    gateway.charged = 0n
    expect((await allowedFetch(`${gateway.url}/paid`)).status).toBe(200)
  }
})

test('a refusal throws with its code, title and hint, and gives the amount back', async () => {
  const { gateway, payingFetch, vouchers } = await setUp()
  await payingFetch(`${gateway.url}/paid`)
  gateway.refuse = () => problem(402, 'grant.frozen')
  const call = payingFetch(`${gateway.url}/paid`)
  await expect(call).rejects.toThrow(PaymentRefusedError)
  await expect(call).rejects.toMatchObject({
    code: 'grant.frozen',
    title: 'Refused: grant.frozen.',
    hint: 'Do something about it.',
    status: 402,
    retryable: false,
  })
  gateway.refuse = () => undefined
  await payingFetch(`${gateway.url}/paid`)
  expect(vouchers.map(({ cumulativeAmount }) => cumulativeAmount)).toEqual([10_000n, 20_000n, 20_000n])
})

test('a rate limit says when to try again', async () => {
  const { gateway, payingFetch } = await setUp()
  gateway.refuse = () => problem(429, 'limit.rate', { 'retry-after': '60' })
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toMatchObject({
    code: 'limit.rate',
    retryable: true,
    retryAfterSeconds: 60,
  })
})

test('a debt that has to be settled first says when to try again, and the call is made with the same amount then', async () => {
  const { gateway, payingFetch, vouchers } = await setUp()
  gateway.refuse = () => problem(429, 'limit.exposure', { 'retry-after': '5' })
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toMatchObject({
    code: 'limit.exposure',
    retryable: true,
    retryAfterSeconds: 5,
  })
  gateway.refuse = () => undefined
  expect((await payingFetch(`${gateway.url}/paid`)).status).toBe(200)
  expect(vouchers.map(({ cumulativeAmount }) => cumulativeAmount)).toEqual([10_000n, 10_000n])
})

test('a gateway that claims more than was ever authorised is an error with both figures, and is paid no more', async () => {
  const { gateway, payingFetch, vouchers } = await setUp()
  await payingFetch(`${gateway.url}/paid`)
  gateway.charged = 900_000n
  gateway.authorized = 990_000n
  const call = payingFetch(`${gateway.url}/paid`)
  await expect(call).rejects.toThrow(ChargeDisputedError)
  await expect(call).rejects.toMatchObject({ chargedAtomic: 910_000n, allowedAtomic: 20_000n })
  await expect(call).rejects.toThrow(/Charged in total: 0.91 \(910000 base units\)\nHighest voucher: 0.02 /)
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toThrow('An earlier call found this out')
  expect(vouchers).toHaveLength(2)
})

test.each([301, 302, 303, 307, 308])(
  'a %i to another origin is followed without payment and credentials',
  async (status) => {
    const elsewhere: IncomingMessage['headers'][] = []
    const other = await startServer((request, response) => {
      elsewhere.push(request.headers)
      response.end('elsewhere')
    })
    const { gateway, payingFetch } = await setUp({
      gateway: { onCharged: () => ({ status, headers: { location: `${other}/steal` } }) },
    })
    const answer = await payingFetch(`${gateway.url}/paid`, {
      headers: { authorization: 'Bearer mine', 'x-kept': 'yes' },
    })
    expect(await answer.text()).toBe('elsewhere')
    expect(gateway.arrivals[0]?.headers.authorization).toBe('Bearer mine')
    expect(elsewhere).toHaveLength(1)
    expect(elsewhere[0]).toMatchObject({ 'x-kept': 'yes' })
    expect(elsewhere[0]).not.toHaveProperty('payment-signature')
    expect(elsewhere[0]).not.toHaveProperty('authorization')
  },
)

test('redirect: manual returns the redirect, redirect: error refuses it, and neither is followed', async () => {
  const { gateway, payingFetch } = await setUp({
    gateway: { onCharged: () => ({ status: 302, headers: { location: '/free' } }) },
  })
  const answer = await payingFetch(`${gateway.url}/paid`, { redirect: 'manual' })
  expect([answer.status, answer.headers.get('location')]).toEqual([302, '/free'])
  await expect(payingFetch(`${gateway.url}/paid`, { redirect: 'error' })).rejects.toThrow('fetch failed')
})

test('a redirect within the origin is a call of its own', async () => {
  const { gateway, payingFetch } = await setUp({
    gateway: {
      onCharged: ({ path }) => (path === '/paid/old' ? { status: 303, headers: { location: '/paid/new' } } : 'answer'),
    },
  })
  const answer = await payingFetch(`${gateway.url}/paid/old`, { method: 'POST', body: 'x' })
  expect(await answer.text()).toBe('served /paid/new')
  expect(gateway.arrivals.map(({ method, path, body }) => [method, path, body])).toEqual([
    ['POST', '/paid/old', 'x'],
    ['GET', '/paid/new', ''],
  ])
  expect(new Set(gateway.arrivals.map(({ requestId }) => requestId)).size).toBe(2)
})

test('a loop of redirects ends', async () => {
  const { gateway, payingFetch } = await setUp({
    gateway: { onCharged: () => ({ status: 307, headers: { location: '/paid/again' } }) },
  })
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toThrow('redirected more than 5 times')
  expect(gateway.arrivals).toHaveLength(6)
})

test('a price that stands behind a redirect is not paid: the error names the final URL', async () => {
  const { gateway, payingFetch } = await setUp()
  const door = await startServer((_, response) => response.writeHead(302, { location: `${gateway.url}/paid` }).end())
  const call = payingFetch(`${door}/`)
  await expect(call).rejects.toThrow(PaymentRedirectedError)
  await expect(call).rejects.toThrow(`To: ${gateway.url}/paid`)
  expect(gateway.arrivals).toHaveLength(0)
})

test('an aborted call rejects with the reason, is not retried, and stays reserved until an answer tells', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const { gateway, payingFetch, vouchers } = await setUp({
    gateway: {
      async onCharged({ number }) {
        if (number > 1) return 'answer'
        controller.abort(reason)
        await new Promise((resolve) => setTimeout(resolve, 50))
        return 'cut'
      },
    },
  })
  await expect(payingFetch(`${gateway.url}/paid`, { signal: controller.signal })).rejects.toBe(reason)
  await expect(payingFetch(`${gateway.url}/paid`, { signal: controller.signal })).rejects.toBe(reason)
  expect(gateway.arrivals).toHaveLength(1)
  await payingFetch(`${gateway.url}/paid`)
  expect(vouchers.map(({ cumulativeAmount }) => cumulativeAmount)).toEqual([10_000n, 20_000n])
})

test('an abort reaches the body of a streaming answer', async () => {
  const { gateway, payingFetch } = await setUp({
    gateway: { onCharged: () => ({ status: 200, body: 'x'.repeat(8_000_000) }) },
  })
  const controller = new AbortController()
  const answer = await payingFetch(`${gateway.url}/paid`, { signal: controller.signal })
  controller.abort(new Error('enough'))
  await expect(answer.text()).rejects.toThrow()
})

test('what is free passes untouched: no payment, no retry, any status', async () => {
  const seen: string[] = []
  const url = await startServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers['payment-signature']}`)
    response.writeHead(request.url === '/missing' ? 404 : 200).end('free')
  })
  const { payingFetch } = await setUp()
  await Promise.all(range(5).map(() => payingFetch(`${url}/a`, { method: 'POST', body: 'x' })))
  expect((await payingFetch(`${url}/missing`)).status).toBe(404)
  expect(seen).toEqual([...range(5).map(() => 'POST /a undefined'), 'GET /missing undefined'])
})

test('an unpaid POST is never sent twice, an unpaid GET may be', async () => {
  const seen: (string | undefined)[] = []
  const url = await startServer((request, response) => {
    seen.push(request.method)
    response.destroy()
  })
  const { payingFetch } = await setUp()
  await expect(payingFetch(url, { method: 'POST', body: 'x' })).rejects.toThrow('fetch failed')
  await expect(payingFetch(url)).rejects.toThrow('fetch failed')
  expect(seen).toEqual(['POST', 'GET', 'GET', 'GET'])
})

test('a grant with several payees proves the one it pays', async () => {
  const payees = range(5).map((index) => `0x${String(index + 1).repeat(40)}` as const)
  const [, , third] = payees
  if (!third) throw new Error('there are five')
  const { gateway, payingFetch, receipts } = await setUp({ grant: { payees }, gateway: { payee: third } })
  expect((await payingFetch(`${gateway.url}/paid`)).status).toBe(200)
  expect(receipts).toEqual([
    {
      url: `${gateway.url}/paid`,
      payee: third,
      service: 'weather',
      requestId: gateway.arrivals[0]?.requestId,
      amountAtomic: 10_000n,
      chargedAtomic: 10_000n,
      authorizedAtomic: 10_000n,
      paymentResponse: expect.objectContaining({ success: true, amount: '10000' }),
    },
  ])
  expect(receipts[0]?.requestId).toMatch(/^req_[0-9a-f]{32}$/)
})

test('a 402 that is not x402 is returned, one that the grant cannot pay says why', async () => {
  const accepted = {
    scheme: 'exact',
    network: 'eip155:8453',
    amount: '1',
    asset: '0x',
    payTo: `0x${'ee'.repeat(20)}`,
    maxTimeoutSeconds: 60,
  }
  const offers = {
    x402Version: 2,
    resource: { url: 'https://api.example/x' },
    accepts: [accepted, { ...accepted, scheme: 'session' }],
  }
  const url = await startServer((request, response) => {
    if (request.url === '/plain') response.writeHead(402).end('pay us')
    else response.writeHead(402, { 'payment-required': encodeHeader(offers) }).end()
  })
  const { payingFetch } = await setUp()
  const answer = await payingFetch(`${url}/plain`)
  expect([answer.status, await answer.text()]).toEqual([402, 'pay us'])
  const call = payingFetch(`${url}/x`)
  await expect(call).rejects.toThrow(OfferUnmatchedError)
  await expect(call).rejects.toThrow(
    'Offer exact: is not the session scheme.\nOffer session: is on eip155:8453, the grant on eip155:31337.',
  )
})

test('only http and https are called', async () => {
  const { payingFetch } = await setUp()
  await expect(payingFetch('data:text/plain,hello')).rejects.toThrow('Only http and https URLs can be called.')
  await expect(payingFetch('/relative')).rejects.toThrow(TypeError)
})

test('a signer that fails sends nothing and reserves nothing', async () => {
  const { gateway, restart } = await setUp()
  let works = false
  const { grant, privateKey } = createTestGrant()
  const signer = toSigner(privateKey, grant)
  const payingFetch = restart({
    limits: { maxTotal: '0.01' },
    sessionKey: {
      address: signer.address,
      sign(voucher) {
        if (!works) throw new Error('the vault is closed')
        return signer.sign(voucher)
      },
    },
  })
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toThrow('the vault is closed')
  expect(gateway.arrivals).toHaveLength(0)
  works = true
  await expect(payingFetch(`${gateway.url}/paid`)).rejects.toMatchObject({ code: 'voucher.invalid_signature' })
})
