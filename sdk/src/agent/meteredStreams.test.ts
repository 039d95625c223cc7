import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  channelIdOf,
  decodeHeader,
  encodeHeader,
  formatEvent,
  paymentPayloadSchema,
  type Voucher,
} from '@protocolbanks/stream-protocol'
import { afterEach, expect, test } from 'vitest'
import { problem } from '../testing/startTestGateway.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import { createPayingFetch, type PayingFetchOptions, type PaymentRequest } from './createPayingFetch.ts'
import { PaymentDeclinedError } from './errors.ts'
import { toSigner } from './signer.ts'

// Streams that are paid while they are read, by servers that keep to it and by such that do not, over real sockets.

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

const { grant, privateKey } = createTestGrant()
const [payee] = grant.payees
if (!payee) throw new Error('the grant has no payee')
const signer = toSigner(privateKey, grant)
const segment = 10_000n

/** What a server may do with a stream that was paid. */
type Stream = {
  /** Of the payment that began it. */
  cumulativeAmount: bigint
  requestId: string
  write(text: string): void
  event(type: string, data: unknown): void
  needVoucher(required: bigint, channelId?: string): void
  receipt(amount: bigint, charged?: bigint): void
  /** The newest voucher that came out of band, once there are so many. */
  vouchers(count: number): Promise<bigint>
  end(): void
}

type Server = {
  /** Answers a voucher out of band; 204 unless told otherwise. */
  onVoucher?: (method: string, response: ServerResponse) => void
}

async function setUp(
  serve: (stream: Stream) => Promise<void> | void,
  agent: Partial<PayingFetchOptions> = {},
  options: Server = {},
) {
  const arrived: { method: string; cumulativeAmount: bigint; requestId: string }[] = []
  const wake: (() => void)[] = []
  const server = createServer((request, response) => {
    const payment = decodeHeader(String(request.headers['payment-signature'] ?? ''), paymentPayloadSchema)
    if (!payment.ok) return offer(response)
    const { payload, extensions = {} } = payment.value
    const { id: requestId } = (extensions['payment-identifier'] as { info: { id: string } }).info
    const cumulativeAmount = BigInt((payload as { cumulativeAmount: string }).cumulativeAmount)
    const { voucherFor } = (extensions.session ?? {}) as { voucherFor?: string }
    if (voucherFor !== undefined) {
      if (options.onVoucher) options.onVoucher(request.method ?? '', response)
      else response.writeHead(204).end()
      if (response.statusCode !== 204) return
      arrived.push({ method: request.method ?? '', cumulativeAmount, requestId: voucherFor })
      for (const go of wake.splice(0)) go()
      return
    }
    const receiptOf = (amount: bigint, charged: bigint) => ({
      success: true,
      transaction: '',
      network: `eip155:${grant.chainId}`,
      payer: grant.account,
      amount: `${amount}`,
      extra: { grantId: grant.grantId, charged: `${charged}`, authorized: `${charged}`, requestId, service: 'talk' },
    })
    const headers = {
      'content-type': 'text/event-stream',
      'payment-response': encodeHeader(receiptOf(segment, cumulativeAmount)),
    }
    response.writeHead(200, headers)
    const event = (type: string, data: unknown) => void response.write(formatEvent(type, data))
    void serve({
      cumulativeAmount,
      requestId,
      event,
      write: (text) => void response.write(text),
      needVoucher(required, channelId = channelIdOf(grant.grantId, payee as `0x${string}`)) {
        event('payment-need-voucher', { channelId, requiredCumulative: `${required}`, acceptedCumulative: '0' })
      },
      receipt: (amount, charged = amount) => event('payment-receipt', receiptOf(amount, charged)),
      async vouchers(count) {
        while (arrived.length < count) await new Promise<void>((resolve) => wake.push(resolve))
        return arrived.at(-1)?.cumulativeAmount ?? 0n
      },
      end: () => void response.end(),
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  const signed: Voucher[] = []
  const payingFetch = createPayingFetch({
    grant,
    sessionKey: {
      address: signer.address,
      sign(voucher) {
        signed.push(voucher)
        return signer.sign(voucher)
      },
    },
    sleep: async () => {},
    ...agent,
  })
  const { port } = server.address() as AddressInfo
  return {
    payingFetch,
    arrived,
    call: (init?: RequestInit) => payingFetch(`http://127.0.0.1:${port}/talk`, init),
    signed: () => signed.map(({ cumulativeAmount }) => cumulativeAmount),
  }
}

function offer(response: ServerResponse): void {
  const required = {
    x402Version: 2,
    resource: { url: 'https://api.example/talk' },
    accepts: [
      {
        scheme: 'session',
        network: `eip155:${grant.chainId}`,
        amount: `${segment}`,
        asset: grant.token,
        payTo: payee,
        maxTimeoutSeconds: 60,
        extra: {
          module: grant.module,
          settler: grant.account,
          service: 'talk',
          scope: '/talk',
          pricing: { kind: 'unit', unit: 'word', rate: { price: '2500', per: 1 } },
        },
      },
    ],
    extensions: { 'payment-identifier': { info: { required: true } } },
  }
  const { status, headers, body } = problem(402, 'payment.required')
  response.writeHead(status, { ...headers, 'payment-required': encodeHeader(required) }).end(body)
}

test('a stream is paid segment by segment while it is read, byte for byte, and booked as its receipt says', async () => {
  const asked: PaymentRequest[] = []
  const said: string[] = []
  const { call, signed, payingFetch, arrived } = await setUp(
    async (stream) => {
      const say = (text: string) => {
        said.push(text)
        stream.write(text)
      }
      say('data: one\n\ndata: t')
      say('wo\n\n')
      stream.needVoucher(20_000n)
      expect(await stream.vouchers(1)).toBe(20_000n)
      say('data: three\r\n\r\n')
      stream.needVoucher(30_000n)
      expect(await stream.vouchers(2)).toBe(30_000n)
      say('data: four\n\n')
      stream.receipt(22_500n)
      stream.end()
    },
    { confirm: (request) => asked.push(request) > 0, limits: { maxPerCall: 40_000n, budget: 50_000n } },
  )
  const answer = await call({ method: 'POST', body: 'say something' })
  expect(payingFetch.receipts()).toEqual([])
  const text = await answer.text()
  expect(text.replaceAll(/event: payment-[^\n]*\ndata: [^\n]*\n\n/g, '')).toBe(said.join(''))
  expect(text).toContain('event: payment-receipt\n')
  expect(signed()).toEqual([10_000n, 20_000n, 30_000n])
  expect(arrived.map(({ method }) => method)).toEqual(['HEAD', 'HEAD'])
  expect(asked.map(({ segment, priceAtomic, pricing }) => [segment, priceAtomic, pricing.kind])).toEqual([
    [1, 10_000n, 'unit'],
    [2, 10_000n, 'unit'],
    [3, 10_000n, 'unit'],
  ])
  expect(payingFetch.receipts()).toMatchObject([{ amountAtomic: 22_500n }])
  expect([payingFetch.spentAtomic(), payingFetch.remainingAtomic()]).toEqual([22_500n, 27_500n])
})

test('a framework without HEAD for the route gets the voucher by the method of the call', async () => {
  const { call, arrived } = await setUp(
    async (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_000n)
      await stream.vouchers(1)
      stream.receipt(12_500n)
      stream.end()
    },
    {},
    { onVoucher: (method, response) => void response.writeHead(method === 'HEAD' ? 404 : 204).end() },
  )
  await (await call({ method: 'POST', body: 'say something' })).text()
  expect(arrived).toMatchObject([{ method: 'POST', cumulativeAmount: 20_000n }])
})

test('a stream that its reader leaves counts with what was signed, until a receipt says otherwise', async () => {
  const { call, payingFetch, signed } = await setUp((stream) => {
    stream.write('data: one\n\n')
    if (stream.cumulativeAmount === segment) return
    stream.receipt(2_500n, 5_000n)
    stream.end()
  })
  const reader = (await call()).body?.getReader()
  await reader?.read()
  await reader?.cancel()
  expect(payingFetch.spentAtomic()).toBe(10_000n)
  await (await call()).text()
  expect(signed()).toEqual([10_000n, 20_000n])
  expect(payingFetch.spentAtomic()).toBe(5_000n)
})

test.each<[string, Partial<PayingFetchOptions>, object]>([
  ['maxPerCall', { limits: { maxPerCall: 10_000n } }, { code: 'agent.limit_exceeded', limit: 'maxPerCall' }],
  [
    'maxPerStream, above maxPerCall',
    { limits: { maxPerCall: 10_000n, maxPerStream: 19_999n } },
    { code: 'agent.limit_exceeded', limit: 'maxPerStream' },
  ],
  ['the budget', { limits: { budget: 15_000n } }, { code: 'agent.limit_exceeded', limit: 'budget' }],
  ['a hook that says no', { confirm: ({ segment }) => segment === 1 }, { code: 'agent.declined' }],
])('%s ends a stream with what says so, and no further voucher is signed', async (_, agent, error) => {
  const { call, signed, payingFetch } = await setUp((stream) => {
    stream.write('data: one\n\n')
    stream.needVoucher(20_000n)
  }, agent)
  await expect((await call()).text()).rejects.toMatchObject(error)
  expect(signed()).toEqual([10_000n])
  // What was delivered of the first segment nobody has told.
  expect(payingFetch.spentAtomic()).toBe(10_000n)
})

test('a stream may cost more than a call where maxPerStream says so', async () => {
  const { call, signed } = await setUp(
    async (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_000n)
      await stream.vouchers(1)
      stream.receipt(20_000n)
      stream.end()
    },
    { limits: { maxPerCall: 10_000n, maxPerStream: 20_000n } },
  )
  await (await call()).text()
  expect(signed()).toEqual([10_000n, 20_000n])
})

test('one event may cost several segments, each with a voucher of its own', async () => {
  const { call, signed, payingFetch } = await setUp(async (stream) => {
    stream.write('data: one\n\n')
    for (const [index, required] of [20_000n, 30_000n, 40_000n].entries()) {
      stream.needVoucher(required)
      expect(await stream.vouchers(index + 1)).toBe(required)
    }
    stream.write('data: a long one\n\n')
    stream.receipt(37_500n)
    stream.end()
  })
  expect(await (await call()).text()).toContain('data: a long one\n\n')
  expect(signed()).toEqual([10_000n, 20_000n, 30_000n, 40_000n])
  expect(payingFetch.spentAtomic()).toBe(37_500n)
})

test('who asks for one segment after the other and serves none gets what the limits allow for one stream', async () => {
  const { call, signed } = await setUp(
    async (stream) => {
      stream.write('data: one\n\n')
      for (let segments = 2; segments <= 4; segments++) {
        stream.needVoucher(segment * BigInt(segments))
        await stream.vouchers(segments - 1)
      }
    },
    { limits: { maxPerStream: 30_000n } },
  )
  await expect((await call()).text()).rejects.toMatchObject({ code: 'agent.limit_exceeded', limit: 'maxPerStream' })
  expect(signed()).toEqual([10_000n, 20_000n, 30_000n])
})

// What servers try: nothing more is signed, and the reader is told why.
test.each<[string, string, (stream: Stream) => Promise<void> | void, bigint[]]>([
  [
    'asks for more than the price it announced',
    'over_asked',
    (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_001n)
    },
    [10_000n],
  ],
  [
    'asks for another channel',
    'wrong_channel',
    (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_000n, channelIdOf(grant.grantId, grant.account))
    },
    [10_000n],
  ],
  [
    'asks in a way that cannot be read',
    'malformed',
    (stream) => {
      stream.write('data: one\n\n')
      stream.event('payment-need-voucher', { please: 'more' })
    },
    [10_000n],
  ],
  [
    'asks for the same voucher again and again',
    'asked_twice',
    async (stream) => {
      stream.write('data: one\n\n')
      for (let asked = 0; asked < 9; asked++) stream.needVoucher(20_000n)
    },
    [10_000n, 20_000n],
  ],
  [
    'sends nothing after it was paid',
    'not_served',
    (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_000n)
    },
    [10_000n, 20_000n],
  ],
  [
    'ends it for want of payment',
    'ended_by_service',
    (stream) => {
      stream.write('data: one\n\n')
      stream.event('payment-error', {
        type: 'about:blank',
        title: 'No voucher came.',
        status: 402,
        code: 'voucher.exhausted',
      })
      stream.end()
    },
    [10_000n],
  ],
])('one that %s is stopped', async (_, reason, serve, vouchers) => {
  const { call, signed } = await setUp(serve, { answerTimeoutMs: 4_000 })
  await expect((await call()).text()).rejects.toMatchObject({ code: 'stream.stopped', reason })
  expect(signed()).toEqual(vouchers)
})

test('one that refuses the next voucher is stopped, and told why', async () => {
  const { call } = await setUp(
    (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_000n)
    },
    {},
    { onVoucher: (_, response) => void response.writeHead(402).end() },
  )
  await expect((await call()).text()).rejects.toMatchObject({ reason: 'voucher_refused' })
})

test('one that asks nobody to sign gets the same voucher when an answer to it was lost', async () => {
  let lost = 0
  const { call, signed, arrived } = await setUp(
    async (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_000n)
      await stream.vouchers(1)
      stream.receipt(12_500n)
      stream.end()
    },
    {},
    { onVoucher: (_, response) => void (lost++ < 2 ? response.writeHead(503).end() : response.writeHead(204).end()) },
  )
  await (await call()).text()
  expect([signed(), arrived.length]).toEqual([[10_000n, 20_000n], 1])
})

test('a stream whose receipt claims more than was ever signed is disputed, and its payee paid no more', async () => {
  const { call, signed } = await setUp((stream) => {
    stream.write('data: one\n\n')
    stream.receipt(10_001n)
    stream.end()
  })
  await expect((await call()).text()).rejects.toMatchObject({ code: 'charge.disputed', chargedAtomic: 10_001n })
  await expect(call()).rejects.toMatchObject({ code: 'charge.disputed' })
  expect(signed()).toEqual([10_000n])
})

test('a segment may be charged from what earlier calls left unused, and no more than that', async () => {
  let calls = 0
  const { call, signed, payingFetch } = await setUp((stream) => {
    stream.write('data: one\n\n')
    if (++calls < 3) stream.receipt(0n)
    else stream.receipt(20_000n)
    stream.end()
  })
  // Both hold 10,000 at once, so 20,000 are signed, and neither uses any.
  const answers = await Promise.all([call(), call()])
  for (const answer of answers) await answer.text()
  expect([signed(), payingFetch.spentAtomic()]).toEqual([[10_000n, 20_000n], 0n])
  await (await call()).text()
  expect(signed()).toEqual([10_000n, 20_000n, 10_000n])
  expect(payingFetch.spentAtomic()).toBe(20_000n)
})

test('a declined segment is an error of its own', async () => {
  const { call } = await setUp(
    (stream) => {
      stream.write('data: one\n\n')
      stream.needVoucher(20_000n)
    },
    { confirm: ({ segment }) => segment < 2 },
  )
  await expect((await call()).text()).rejects.toThrow(PaymentDeclinedError)
})
