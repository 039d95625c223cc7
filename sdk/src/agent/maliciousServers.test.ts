import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeHeader, encodeHeader, paymentPayloadSchema, type Voucher } from '@protocolbanks/stream-protocol'
import { afterEach, expect, test } from 'vitest'
import { problem } from '../testing/startTestGateway.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import { createMemoryStore } from './agentStore.ts'
import { createPayingFetch, type PayingFetchOptions } from './createPayingFetch.ts'
import { ChargeDisputedError, LimitExceededError, PaymentRefusedError } from './errors.ts'
import { toSigner } from './signer.ts'

// Servers that lie, over real sockets: whatever they answer, the agent signs no more than its limits and its calls allow.

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** A payment as it reached the server: which one it is, from 1, and what it says. */
type Paid = { number: number; requestId: string; cumulativeAmount: bigint }

const { grant, privateKey } = createTestGrant()
const [payee] = grant.payees
if (!payee) throw new Error('the grant has no payee')
const signer = toSigner(privateKey, grant)

/** Asks 10,000 for every call, then does as told with what was paid. */
async function setUp(lie: (paid: Paid, response: ServerResponse) => void, agent: Partial<PayingFetchOptions> = {}) {
  let number = 0
  const server = createServer((request, response) => {
    const payment = decodeHeader(String(request.headers['payment-signature'] ?? ''), paymentPayloadSchema)
    if (!payment.ok) return refuse(response, 'payment.required')
    const { payload, extensions = {} } = payment.value
    const { info } = extensions['payment-identifier'] as { info: { id: string } }
    const { cumulativeAmount } = payload as { cumulativeAmount: string }
    lie({ number: ++number, requestId: info.id, cumulativeAmount: BigInt(cumulativeAmount) }, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  const vouchers: Voucher[] = []
  const discrepancies: { chargedAtomic: bigint; explainedAtomic: bigint }[] = []
  const payingFetch = createPayingFetch({
    grant,
    sessionKey: {
      address: signer.address,
      sign(voucher) {
        vouchers.push(voucher)
        return signer.sign(voucher)
      },
    },
    sleep: async () => {},
    onDiscrepancy: (found) => discrepancies.push(found),
    ...agent,
  })
  const { port } = server.address() as AddressInfo
  const signed = () => vouchers.map(({ cumulativeAmount }) => cumulativeAmount)
  return { call: () => payingFetch(`http://127.0.0.1:${port}/paid`), payingFetch, signed, discrepancies, server }
}

function refuse(response: ServerResponse, code: string, price = 10_000n, session?: unknown): void {
  const offer = {
    x402Version: 2,
    resource: { url: 'https://api.example/paid' },
    accepts: [
      {
        scheme: 'session',
        network: `eip155:${grant.chainId}`,
        amount: price.toString(),
        asset: grant.token,
        payTo: payee,
        maxTimeoutSeconds: 60,
        extra: { module: grant.module, settler: grant.account, service: 'weather', scope: '/paid' },
      },
    ],
    extensions: { 'payment-identifier': { info: { required: true } }, ...(session !== undefined && { session }) },
  }
  const { status, headers, body } = problem(402, code)
  response.writeHead(status, { ...headers, 'payment-required': encodeHeader(offer) }).end(body)
}

const channel = (charged: bigint, authorized: bigint) => ({
  grantId: grant.grantId,
  charged: `${charged}`,
  authorized: `${authorized}`,
})

function receipt(paid: Paid, fields: { amount?: bigint; charged: bigint; authorized?: bigint; requestId?: string }) {
  return encodeHeader({
    success: true,
    transaction: '',
    network: `eip155:${grant.chainId}`,
    payer: grant.account,
    amount: `${fields.amount ?? 10_000n}`,
    extra: {
      ...channel(fields.charged, fields.authorized ?? paid.cumulativeAmount),
      requestId: fields.requestId ?? paid.requestId,
      service: 'weather',
    },
  })
}

function serve(response: ServerResponse, header: string, status = 200): void {
  response.writeHead(status, { 'payment-response': header }).end('served')
}

test('one that asks again after it was paid gets no second payment', async () => {
  const { call, signed, payingFetch } = await setUp((_, response) => refuse(response, 'payment.required'))
  for (let calls = 0; calls < 3; calls++) await expect(call()).rejects.toThrow(PaymentRefusedError)
  // The same amount each time: what was refused is not added up.
  expect(signed()).toEqual([10_000n, 10_000n, 10_000n])
  expect(payingFetch.spentAtomic()).toBe(0n)
})

test('one that raises the price with every payment is followed twice, and never above maxPerCall', async () => {
  const raise = ({ number }: Paid, response: ServerResponse) =>
    refuse(response, 'price.changed', 10_000n + BigInt(number) * 10_000n)
  const free = await setUp(raise)
  await expect(free.call()).rejects.toMatchObject({ code: 'price.changed' })
  expect(free.signed()).toEqual([10_000n, 20_000n, 30_000n])
  const limited = await setUp(raise, { limits: { maxPerCall: 20_000n } })
  await expect(limited.call()).rejects.toThrow(LimitExceededError)
  expect(limited.signed()).toEqual([10_000n, 20_000n])
  expect(limited.payingFetch.spentAtomic()).toBe(0n)
})

test('one that says it charged more than its price is found out, and paid no more', async () => {
  const { call, signed } = await setUp((paid, response) =>
    serve(response, receipt(paid, { amount: 10_001n, charged: 10_000n })),
  )
  await expect(call()).rejects.toMatchObject({
    code: 'charge.disputed',
    chargedAtomic: 10_001n,
    allowedAtomic: 10_000n,
  })
  await expect(call()).rejects.toThrow(ChargeDisputedError)
  expect(signed()).toEqual([10_000n])
})

test('one that invents a debt at the first contact gets nothing from an agent that remembers what it signed', async () => {
  const invent = (_: Paid, response: ServerResponse) =>
    refuse(response, 'voucher.exhausted', 10_000n, channel(5_000_000n, 5_000_000n))
  const remembering = await setUp(invent, { store: createMemoryStore() })
  await expect(remembering.call()).rejects.toMatchObject({
    code: 'charge.disputed',
    chargedAtomic: 5_000_000n,
    allowedAtomic: 10_000n,
  })
  expect(remembering.signed()).toEqual([10_000n])
  // Without a memory an earlier process may have signed that; the limits bound what it can cost.
  const forgetful = await setUp(invent, { limits: { maxTotal: 1_000_000n } })
  await expect(forgetful.call()).rejects.toThrow(LimitExceededError)
  expect(forgetful.signed()).toEqual([10_000n])
})

test('one that keeps the price of a call it failed is reported with both figures', async () => {
  const { call, signed, discrepancies } = await setUp((paid, response) => {
    if (paid.number === 1) return serve(response, receipt(paid, { charged: 10_000n }))
    if (paid.number === 2) return void response.writeHead(500).end('broken')
    if (paid.number === 3) return refuse(response, 'price.changed', 5_000n)
    // Within the 20,000 that were signed for the failed call, so no voucher shows it.
    serve(response, receipt(paid, { amount: 5_000n, charged: 20_000n, authorized: 20_000n }))
  })
  await call()
  expect((await call()).status).toBe(500)
  expect(discrepancies).toEqual([])
  await call()
  expect(signed()).toEqual([10_000n, 20_000n, 20_000n, 15_000n])
  expect(discrepancies).toMatchObject([{ chargedAtomic: 20_000n, explainedAtomic: 15_000n }])
})

test('one that fails for ever costs nothing, and gets the same amount each time', async () => {
  const { call, signed, payingFetch } = await setUp((_, response) => void response.writeHead(500).end('broken'))
  for (let calls = 0; calls < 3; calls++) expect((await call()).status).toBe(500)
  expect(signed()).toEqual([10_000n, 10_000n, 10_000n])
  expect(payingFetch.spentAtomic()).toBe(0n)
})

test('one that never answers what was paid gets one payment for three tries, which counts as spent', async () => {
  const ids = new Set<string>()
  const { call, signed, payingFetch } = await setUp(({ requestId }, response) => {
    ids.add(requestId)
    response.destroy()
  })
  await expect(call()).rejects.toThrow('fetch failed')
  expect([signed(), ids.size, payingFetch.spentAtomic()]).toEqual([[10_000n], 1, 10_000n])
})

test.each<[string, (paid: Paid) => string]>([
  ['no base64', () => '%%%'],
  ['no receipt', () => encodeHeader({ success: true })],
  ['the receipt of another request', (paid) => receipt(paid, { charged: 1n, requestId: 'request-of-somebody-else' })],
  ['ten thousand characters', () => 'A'.repeat(10_000)],
])('one whose receipt is %s is not believed: the call counts with its price', async (_, header) => {
  const { call, payingFetch } = await setUp((paid, response) => serve(response, header(paid)))
  expect(await (await call()).text()).toBe('served')
  expect(payingFetch.spentAtomic()).toBe(10_000n)
  expect(payingFetch.receipts()).toEqual([])
})

test('one that refuses with a body without an end is not read to the end', async () => {
  const { call } = await setUp((_, response) => {
    response.writeHead(402, { 'content-type': 'application/problem+json' })
    const fill = () => {
      while (!response.destroyed && response.write('x'.repeat(16_384)));
    }
    response.on('drain', fill)
    fill()
  })
  await expect(call()).rejects.toThrow(PaymentRefusedError)
})

test('fifty calls at once to one that lies at random never sign above maxTotal', async () => {
  let seed = 7
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  const { signed, call } = await setUp(
    (paid, response) => {
      const dice = random()
      if (dice < 0.2) return void response.destroy()
      if (dice < 0.4) return refuse(response, 'price.changed', BigInt(Math.floor(random() * 40_000)))
      if (dice < 0.6)
        return refuse(response, 'voucher.exhausted', 10_000n, channel(paid.cumulativeAmount, paid.cumulativeAmount))
      if (dice < 0.8) return void response.writeHead(500).end()
      serve(response, receipt(paid, { charged: paid.cumulativeAmount }))
    },
    { limits: { maxTotal: 200_000n } },
  )
  await Promise.allSettled(Array.from({ length: 50 }, call))
  expect(signed().length).toBeGreaterThan(10)
  expect(signed().every((amount) => amount <= 200_000n)).toBe(true)
})
