import {
  decodeHeader,
  encodeHeader,
  maxHeaderLength,
  type Problem,
  paymentRequiredSchema,
  settleResponseSchema,
} from '@protocolbanks/stream-protocol'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createEmbeddedMeter } from '../meter/embedded.ts'
import { createEmbeddedStore } from '../meter/embeddedStore.ts'
import { partitionOf } from '../meter/partitionOf.ts'
import {
  account,
  createTestGateway,
  grantId,
  newRequestId,
  paid,
  payee,
  payment,
  price,
  type TestGateway,
} from './testing/testGateway.ts'
import { startTestUpstream, type TestUpstream } from './testing/testUpstream.ts'

let upstream: TestUpstream
let gateway: TestGateway

beforeEach(async () => {
  upstream = await startTestUpstream()
  gateway = createTestGateway({ upstream: upstream.url })
  await gateway.ready()
})
afterEach(() => upstream.stop())

async function charged(): Promise<bigint> {
  return (await gateway.meter.read(account, grantId))?.channels[payee]?.charged ?? 0n
}

/** What reaches the journal: the sum and number of events whose requests were served. */
async function journalled(): Promise<{ amount: bigint; count: number }> {
  const events = await gateway.meter.readUsage(partitionOf(account), 100)
  return { amount: events.reduce((sum, event) => sum + event.amount, 0n), count: events.length }
}

async function expectProblem(response: Response, status: number, code: string) {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const body = (await response.json()) as Problem
  expect({ status: response.status, code: body.code }).toEqual({ status, code })
  return body
}

function offerOf(response: Response) {
  const decoded = decodeHeader(response.headers.get('payment-required') ?? '', paymentRequiredSchema)
  if (!decoded.ok) throw new Error(decoded.reason)
  return decoded.value
}

function receiptOf(response: Response) {
  const decoded = decodeHeader(response.headers.get('payment-response') ?? '', settleResponseSchema)
  if (!decoded.ok) throw new Error(decoded.reason)
  return decoded.value
}

describe('a call without a payment', () => {
  test('is told the price in PAYMENT-REQUIRED and reaches no upstream', async () => {
    const response = await gateway.app.request('/weather/paris')
    await expectProblem(response, 402, 'payment.required')
    expect(response.headers.get('cache-control')).toBe('no-store')
    const [offer] = offerOf(response).accepts
    expect(offer).toMatchObject({ scheme: 'session', network: 'eip155:31337', amount: '10000', payTo: payee })
    expect(offerOf(response).extensions).toEqual({ 'payment-identifier': { info: { required: true } } })
    expect(upstream.calls).toEqual([])
  })

  test('of a path without a service is 404', async () => {
    await expectProblem(await gateway.app.request('/weathervane'), 404, 'service.unknown')
  })
})

describe('a paid call', () => {
  test('is served once, charged once, and carries a receipt', async () => {
    const response = await gateway.app.request('/weather/paris?units=c', paid(payment(gateway.service, price)))
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ path: '/paris?units=c', call: 1 })
    expect(receiptOf(response)).toMatchObject({
      success: true,
      amount: '10000',
      payer: account,
      extra: { grantId, charged: '10000', source: 'allowance' },
    })
    expect(response.headers.get('cache-control')).toBe('private')
    expect(response.headers.get('server-timing')).toMatch(/^gateway;dur=\d+\.\d+$/)
    expect(await charged()).toBe(price)
    expect(await journalled()).toEqual({ amount: price, count: 1 })
  })

  test('of many in flight is never refused, in whatever order the vouchers arrive', async () => {
    const headers = Array.from({ length: 50 }, (_, index) => payment(gateway.service, price * BigInt(index + 1)))
    const responses = await Promise.all(
      headers.reverse().map((header) => gateway.app.request('/weather/x', paid(header))),
    )
    expect(new Set(responses.map((response) => response.status))).toEqual(new Set([200]))
    expect(await charged()).toBe(price * 50n)
  })

  test('keeps the payment from the upstream, and passes body and other headers on', async () => {
    const { headers } = paid(payment(gateway.service, price))
    const response = await gateway.app.request('/weather/echo', {
      method: 'POST',
      body: 'hello',
      headers: { ...headers, 'content-length': '5', 'x-mine': 'yes', connection: 'x-hop', 'x-hop': 'no' },
    })
    const seen = (await response.json()) as { body: string; headers: Record<string, string> }
    expect(seen.body).toBe('hello')
    expect(seen.headers['x-mine']).toBe('yes')
    expect(seen.headers['payment-signature']).toBeUndefined()
    expect(seen.headers['x-hop']).toBeUndefined()
  })

  test('streams server-sent events through byte by byte', async () => {
    const response = await gateway.app.request('/weather/stream', paid(payment(gateway.service, price)))
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(await response.text()).toBe('data: one\n\ndata: two\n\ndata: three\n\n')
    expect(await journalled()).toEqual({ amount: price, count: 1 })
  })
})

describe('a call that is not served', () => {
  test.each([
    ['answers 500', '/weather/fail', 500],
    ['breaks the connection', '/weather/dead', 502],
    ['dies half-way through a small answer', '/weather/half', 502],
    ['does not answer in time', '/weather/silent', 504],
  ])('because the upstream %s costs nothing', async (_, path, status) => {
    const response = await gateway.app.request(path, paid(payment(gateway.service, price)))
    expect(response.status).toBe(status)
    expect(response.headers.get('payment-response')).toBeNull()
    expect(await charged()).toBe(0n)
    expect(await journalled()).toEqual({ amount: 0n, count: 0 })
  })

  test('because the upstream is down is 502 with what to do next, and the same id can be used again', async () => {
    await upstream.stop()
    const id = newRequestId()
    const response = await gateway.app.request('/weather/x', paid(payment(gateway.service, price, id)))
    expect(await expectProblem(response, 502, 'upstream.failed')).toMatchObject({
      hint: expect.stringContaining('same id'),
    })
    upstream = await startTestUpstream()
    gateway.service.upstream = upstream.url
    await gateway.ready()
    expect((await gateway.app.request('/weather/x', paid(payment(gateway.service, price, id)))).status).toBe(200)
    expect(await charged()).toBe(price)
  })

  test('but is journalled already says that it was charged, and a retry is served free', async () => {
    gateway.meter.capture = async () => ({ ok: false, code: 'capture.too_late' })
    const header = payment(gateway.service, price)
    const response = await gateway.app.request('/weather/fail', paid(header))
    expect(response.status).toBe(500)
    expect(receiptOf(response)).toMatchObject({ success: true, amount: '10000' })
    await gateway.app.request('/weather/fail', paid(header))
    expect(upstream.calls).toHaveLength(2)
    expect(await charged()).toBe(price)
  })

  test('whose stream dies half-way is charged, and served free when it is repeated', async () => {
    const header = payment(gateway.service, price)
    const response = await gateway.app.request('/weather/stream-dies', paid(header))
    await expect(response.text()).rejects.toThrow()
    const again = await gateway.app.request('/weather/stream-dies', paid(header))
    expect(again.status).toBe(200)
    await again.text().catch(() => undefined)
    expect(upstream.calls).toHaveLength(2)
    expect(await charged()).toBe(price)
  })
})

describe('a repeated request id', () => {
  test('with the same request gets the first answer and is not charged again', async () => {
    const header = payment(gateway.service, price)
    const first = await gateway.app.request('/weather/x', paid(header))
    const second = await gateway.app.request('/weather/x', paid(header))
    expect(await second.text()).toBe(await first.text())
    expect(receiptOf(second)).toMatchObject({ success: true, amount: '10000' })
    expect(upstream.calls).toHaveLength(1)
    expect(await charged()).toBe(price)
  })

  test('while the first is being served waits for its answer', async () => {
    const header = payment(gateway.service, price)
    const answers = await Promise.all([1, 2, 3].map(() => gateway.app.request('/weather/slow', paid(header))))
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200])
    expect(upstream.calls).toHaveLength(1)
    expect(await charged()).toBe(price)
  })

  test('that another living process charged is asked to come back, not to pay again', async () => {
    const header = payment(gateway.service, price)
    const store = createEmbeddedStore()
    const theirs = createEmbeddedMeter({ clock: Date.now, instance: 'gateway-2', store })
    const ours = createTestGateway({
      upstream: upstream.url,
      meter: createEmbeddedMeter({ clock: Date.now, instance: 'gateway-1', store }),
    })
    const them = createTestGateway({ upstream: upstream.url, meter: theirs, instance: 'gateway-2' })
    await Promise.all([ours.ready(), them.ready()])
    expect((await them.app.request('/weather/x', paid(header))).status).toBe(200)
    const response = await ours.app.request('/weather/x', paid(header))
    await expectProblem(response, 409, 'request.in_progress')
    expect(response.headers.get('retry-after')).toBe('10')
    await theirs.close()
    expect((await ours.app.request('/weather/x', paid(header))).status).toBe(200)
    expect((await ours.meter.read(account, grantId))?.channels[payee]?.charged).toBe(price)
  })

  test.each([
    ['path', '/weather/y', {}],
    ['query', '/weather/x?y', {}],
    ['method', '/weather/x', { method: 'DELETE' }],
    ['body', '/weather/x', { method: 'POST', body: 'other', headers: { 'content-length': '5' } }],
  ])('with another %s is a conflict', async (_, path, { headers, ...init }: RequestInit) => {
    const header = payment(gateway.service, price * 2n)
    await gateway.app.request('/weather/x', paid(header))
    const response = await gateway.app.request(path, {
      ...init,
      headers: { ...paid(header).headers, ...(headers as Record<string, string>) },
    })
    await expectProblem(response, 409, 'request.conflict')
    expect(await charged()).toBe(price)
  })
})

describe('a payment that cannot be read is 400 and charges nothing:', () => {
  const good = () => payment(gateway.service, price)
  test.each<[string, () => string]>([
    ['not base64', () => '%%%'],
    ['not JSON', () => btoa('{"x402Version":2')],
    ['longer than the bound', () => 'A'.repeat(maxHeaderLength + 4)],
    ['another x402 version', () => encodeHeader({ x402Version: 1 })],
    [
      'a negative amount',
      () => payment(gateway.service, price, newRequestId(), { payload: { cumulativeAmount: '-1' } }),
    ],
    [
      'a fractional amount',
      () => payment(gateway.service, price, newRequestId(), { payload: { cumulativeAmount: '0.5' } }),
    ],
    [
      'an amount of 2^128',
      () => payment(gateway.service, price, newRequestId(), { payload: { cumulativeAmount: (2n ** 128n).toString() } }),
    ],
    [
      'an amount that is a number',
      () => payment(gateway.service, price, newRequestId(), { payload: { cumulativeAmount: 10000 } }),
    ],
    [
      'a signature of 64 bytes',
      () => payment(gateway.service, price, newRequestId(), { payload: { signature: `0x${'11'.repeat(64)}` } }),
    ],
    ['a short grant id', () => payment(gateway.service, price, newRequestId(), { payload: { grantId: '0xab' } })],
    ['an unknown field', () => payment(gateway.service, price, newRequestId(), { payload: { free: true } })],
    ['no request id', () => payment(gateway.service, price, newRequestId(), { extensions: undefined })],
    ['a request id that is too short', () => payment(gateway.service, price, 'short')],
    ['a truncated header', () => good().slice(0, -40)],
  ])('%s', async (_, header) => {
    const response = await gateway.app.request('/weather/x', paid(header()))
    await expectProblem(response, 400, 'payment.malformed')
    expect(upstream.calls).toEqual([])
    expect(await charged()).toBe(0n)
  })
})

describe('a payment that is refused is 402, says why, repeats the offer, and charges nothing:', () => {
  const other = '0x9999999999999999999999999999999999999999'
  test.each<[string, string, () => string]>([
    [
      'another scheme',
      'scheme.unsupported',
      () => payment(gateway.service, price, newRequestId(), { accepted: { scheme: 'exact' } }),
    ],
    [
      'another chain',
      'payment.wrong_network',
      () => payment(gateway.service, price, newRequestId(), { accepted: { network: 'eip155:1' } }),
    ],
    [
      'another token',
      'payment.wrong_token',
      () => payment(gateway.service, price, newRequestId(), { accepted: { asset: other } }),
    ],
    [
      'another payee',
      'payment.wrong_payee',
      () => payment(gateway.service, price, newRequestId(), { accepted: { payTo: other } }),
    ],
    [
      'a grant of another module',
      'payment.wrong_module',
      () =>
        payment(gateway.service, price, newRequestId(), {
          accepted: { extra: { module: other, settler: other, service: 'x', scope: '/' } },
        }),
    ],
    [
      'a lower price',
      'price.changed',
      () => payment(gateway.service, price, newRequestId(), { accepted: { amount: '1' } }),
    ],
    [
      'a grant nobody knows',
      'grant.unknown',
      () => payment(gateway.service, price, newRequestId(), { grantId: `0x${'99'.repeat(32)}` }),
    ],
    [
      'the signature of another key',
      'voucher.invalid_signature',
      () => payment(gateway.service, price, newRequestId(), { key: `0x${'99'.repeat(32)}` }),
    ],
    [
      'an amount that was not signed',
      'voucher.invalid_signature',
      () => payment(gateway.service, price, newRequestId(), { payload: { cumulativeAmount: '20000' } }),
    ],
    ['a voucher below the price', 'voucher.exhausted', () => payment(gateway.service, price - 1n)],
  ])('%s', async (_, code, header) => {
    const response = await gateway.app.request('/weather/x', paid(header()))
    const body = await expectProblem(response, 402, code)
    expect(body.hint).toEqual(expect.any(String))
    expect(offerOf(response).accepts[0]?.amount).toBe('10000')
    expect(upstream.calls).toEqual([])
    expect(await charged()).toBe(0n)
  })

  test('a replayed voucher under a new id', async () => {
    await gateway.app.request('/weather/x', paid(payment(gateway.service, price)))
    const response = await gateway.app.request('/weather/x', paid(payment(gateway.service, price)))
    await expectProblem(response, 402, 'voucher.exhausted')
    expect(offerOf(response).extensions?.session).toEqual({ grantId, charged: '10000', authorized: '10000' })
    expect(await charged()).toBe(price)
  })

  test.each<[string, string, Partial<TestGateway['accountState']['grants'][0]>]>([
    ['frozen', 'grant.frozen', { status: 'frozen' }],
    ['revoked', 'grant.revoked', { status: 'revoked' }],
    ['expired', 'grant.expired', { validUntil: 1 }],
    ['not yet valid', 'grant.not_yet_valid', { validAfter: 4_000_000_000, validUntil: 5_000_000_000 }],
    ['exhausted in total', 'limit.total', { totalLimit: price - 1n }],
    ['exhausted in this period', 'limit.period', { periodLimit: price - 1n, period: 60 }],
  ])('a grant that is %s', async (_, code, change) => {
    Object.assign(gateway.accountState.grants[0] ?? {}, change)
    const response = await gateway.app.request('/weather/x', paid(payment(gateway.service, price)))
    await expectProblem(response, 402, code)
    expect(upstream.calls).toEqual([])
  })

  test('an account without enough funds', async () => {
    gateway.accountState.funds = { allowance: price - 1n, reserve: price }
    await expectProblem(
      await gateway.app.request('/weather/x', paid(payment(gateway.service, price))),
      402,
      'funds.insufficient',
    )
  })

  test('a payee that the grant does not name', async () => {
    gateway = createTestGateway({ upstream: upstream.url, payees: ['0x3333333333333333333333333333333333333333'] })
    await gateway.ready()
    await expectProblem(
      await gateway.app.request('/weather/x', paid(payment(gateway.service, price))),
      402,
      'payee.not_granted',
    )
  })
})

test('calls above the rate of a service are 429 with when to come back', async () => {
  gateway = createTestGateway({ upstream: upstream.url, service: { maxCallsPerMinute: 1 } })
  await gateway.ready()
  await gateway.app.request('/weather/x', paid(payment(gateway.service, price)))
  const response = await gateway.app.request('/weather/x', paid(payment(gateway.service, price * 2n)))
  const { detail } = await expectProblem(response, 429, 'limit.rate')
  const endMs = (Math.floor(gateway.state.nowMs / 60_000) + 1) * 60_000
  expect(detail).toBe(
    `Limit: one minute of one grant at this service. This one ends at ${new Date(endMs).toISOString()}.`,
  )
  expect(response.headers.get('retry-after')).toBe(`${Math.ceil((endMs - gateway.state.nowMs) / 1_000)}`)
})

test('no paid call is served when the chain was not seen within the bound', async () => {
  gateway.state.chainAgeMs = 30_001
  const response = await gateway.app.request('/weather/x', paid(payment(gateway.service, price)))
  await expectProblem(response, 503, 'chain.stale')
  expect(upstream.calls).toEqual([])
})

test('a meter that is gone is 503, never a free call', async () => {
  await gateway.meter.close()
  const response = await gateway.app.request('/weather/x', paid(payment(gateway.service, price)))
  await expectProblem(response, 503, 'meter.unavailable')
  expect(upstream.calls).toEqual([])
})
