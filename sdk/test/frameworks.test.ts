import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { decodeHeader, encodeHeader, paymentPayloadSchema } from '@protocolbanks/stream-protocol'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createPayingFetch } from '../src/index.ts'
import { problem, startTestGateway, type TestGateway } from '../src/testing/startTestGateway.ts'
import { createTestGrant } from '../src/testing/testGrant.ts'
import type { Behaviour, Merchant, Priced, StartMerchant } from './frameworks/behaviour.ts'
import { describeExact } from './frameworks/describeExact.ts'
import { describeMetered } from './frameworks/describeMetered.ts'
import { startExpress } from './frameworks/startExpress.ts'
import { startFastify } from './frameworks/startFastify.ts'
import { startHono } from './frameworks/startHono.ts'
import { startNestOnExpress, startNestOnFastify } from './frameworks/startNest.ts'
import { buildNext } from './frameworks/startNext.ts'

// The same guarantees in every framework, each as its own server on a real socket.

let removeNext: (() => Promise<void>) | undefined
afterAll(() => removeNext?.())

const startNext: StartMerchant = async (options) => {
  const { start, remove } = await buildNext()
  removeNext = remove
  return start(options)
}

/** What the merchant's handler asks: which behaviour to show. Counts the calls that reached it. */
type Control = {
  url: string
  calls: { path: string; body: unknown }[]
  behave(): Behaviour | Promise<Behaviour>
  close(): Promise<void>
}

const good: Behaviour = { kind: 'answer', status: 200, body: { answer: 42 } }
const soon = { timeout: 60_000, interval: 20 }

describe.each<[string, StartMerchant]>([
  ['Hono', startHono],
  ['Express', startExpress],
  ['Fastify', startFastify],
  ['NestJS on Express', startNestOnExpress],
  ['NestJS on Fastify', startNestOnFastify],
  ['Next.js', startNext],
])('%s', (name, startMerchant) => {
  const { grant, privateKey, sessionKey } = createTestGrant()
  let gateway: TestGateway
  let control: Control
  let merchant: Merchant
  /** The payments that were sent, newest last. */
  const sent: string[] = []

  beforeAll(async () => {
    gateway = await startTestGateway({ grant, sessionKey })
    control = await startControl()
    merchant = await startMerchant({ gatewayUrl: gateway.url, controlUrl: control.url })
  }, 900_000)
  afterAll(async () => {
    await merchant?.close()
    await gateway?.close()
    await control?.close()
  })
  beforeEach(() => {
    sent.length = 0
    control.calls.length = 0
    gateway.reports.length = 0
    control.behave = () => good
  })
  afterEach(() => {
    gateway.refuse = () => undefined
  })

  /** Another agent each time: what was charged before is asked of the gateway. */
  const agent = () =>
    createPayingFetch({
      grant,
      sessionKey: privateKey,
      async fetch(input, init) {
        const payment = new Headers(init?.headers).get('payment-signature')
        if (payment) sent.push(payment)
        return fetch(input, init)
      },
    })
  const url = (path = 'x', priced: Priced = 'paid') => `${merchant.url}/${priced}/${path}`
  /** As it was sent last, by somebody who asks once more. */
  const again = (path = 'x', payment = sent.at(-1) ?? '', priced: Priced = 'paid') =>
    fetch(url(path, priced), { headers: { 'payment-signature': payment } })

  test('without a payment the answer is 402 with the price, and the handler does not run', async () => {
    const answer = await fetch(url())
    expect([answer.status, await answer.json()]).toMatchObject([402, { code: 'payment.required' }])
    expect(answer.headers.get('payment-required')).toBeTruthy()
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(control.calls).toEqual([])
  })

  test('a paid call is served once, with its body and its receipt, and charged once', async () => {
    const before = gateway.charged
    const body = JSON.stringify({ city: 'Oslo' })
    const headers = { 'content-type': 'application/json' }
    const answer = await agent()(url('order?q=1'), { method: 'POST', body, headers })
    expect([answer.status, await answer.json()]).toEqual([200, { answer: 42 }])
    expect(answer.headers.get('payment-response')).toBeTruthy()
    expect(control.calls).toMatchObject([{ body: { city: 'Oslo' } }])
    expect(gateway.charged - before).toBe(20_000n)
    await vi.waitFor(() => expect(gateway.reports).toContainEqual(expect.stringMatching(/^served /)), soon)
    expect(gateway.reports.filter((report) => report.startsWith('release '))).toEqual([])
  })

  test('ten calls at once are charged ten times', async () => {
    const before = gateway.charged
    const pay = agent()
    const answers = await Promise.all(Array.from({ length: 10 }, () => pay(url())))
    expect(await Promise.all(answers.map((answer) => answer.json()))).toEqual(Array(10).fill({ answer: 42 }))
    expect(gateway.charged - before).toBe(200_000n)
  })

  test('a retry gets the first answer with its receipt, for free, and the handler does not run again', async () => {
    control.behave = () => ({ kind: 'answer', status: 200, body: { run: control.calls.length } })
    const first = await agent()(url())
    const before = gateway.charged
    const second = await again()
    expect([second.status, await second.text()]).toEqual([200, await first.text()])
    expect(second.headers.get('content-type')).toBe(first.headers.get('content-type'))
    expect(second.headers.get('payment-response')).toBe(first.headers.get('payment-response'))
    expect(control.calls).toHaveLength(1)
    expect(gateway.charged).toBe(before)
  })

  test('a retry that comes while the first call is served waits for its answer', async () => {
    let answerNow: (behaviour: Behaviour) => void = () => {}
    control.behave = () => new Promise((resolve) => (answerNow = resolve))
    const first = agent()(url())
    await vi.waitFor(() => expect(control.calls).toHaveLength(1), soon)
    const second = again()
    answerNow({ kind: 'answer', status: 200, body: { only: 'one' } })
    expect([await (await first).json(), await (await second).json()]).toEqual([{ only: 'one' }, { only: 'one' }])
    expect(control.calls).toHaveLength(1)
  })

  test('the same payment for another request is not served', async () => {
    await agent()(url())
    expect((await again('elsewhere')).status).toBe(409)
    expect(control.calls).toHaveLength(1)
  })

  test.each<[string, Behaviour, number]>([
    ['answers 503', { kind: 'answer', status: 503, body: { answer: 'broken' } }, 503],
    ['throws', { kind: 'throw', message: 'no data' }, 500],
  ])('a handler that %s costs nothing, and its answer carries no receipt', async (_, behaviour, status) => {
    const before = gateway.charged
    control.behave = () => behaviour
    const answer = await agent()(url())
    // Reports of calls before it, which were served, may come late.
    const released = gateway.reports.filter((report) => report.startsWith('release '))
    expect(released).toHaveLength(1)
    expect(gateway.reports).not.toContain(released[0]?.replace('release', 'served'))
    expect(answer.status).toBe(status)
    expect(answer.headers.get('payment-response')).toBe(null)
    if (behaviour.kind === 'answer') expect(await answer.json()).toEqual(behaviour.body)
    expect(gateway.charged).toBe(before)
  })

  test('an answer below 500 is an answer: it is charged, and given again', async () => {
    control.behave = () => ({ kind: 'answer', status: 404, body: { error: 'no such city' } })
    const answer = await agent()(url())
    expect([answer.status, await answer.json()]).toEqual([404, { error: 'no such city' }])
    expect(answer.headers.get('payment-response')).toBeTruthy()
    const second = await again()
    expect([second.status, await second.json()]).toEqual([404, { error: 'no such city' }])
  })

  test('a stream passes as it comes, with the receipt in its head, and is given again when it was small', async () => {
    control.behave = () => ({ kind: 'stream', parts: ['data: 1\n\n', 'data: 2\n\n'], endless: false, breaks: false })
    const answer = await agent()(url())
    expect(answer.headers.get('content-type')).toContain('text/event-stream')
    expect(answer.headers.get('payment-response')).toBeTruthy()
    expect(await answer.text()).toBe('data: 1\n\ndata: 2\n\n')
    expect(await (await again()).text()).toBe('data: 1\n\ndata: 2\n\n')
    expect(control.calls).toHaveLength(1)
  })

  test('an agent reads the start of a stream before it ends, and what was delivered stays charged when it leaves', async () => {
    const before = gateway.charged
    control.behave = () => ({ kind: 'stream', parts: ['data: tick\n\n'], endless: true, breaks: false })
    const leaving = new AbortController()
    const answer = await agent()(url(), { signal: leaving.signal })
    const { value } = (await answer.body?.getReader().read()) ?? {}
    expect(new TextDecoder().decode(value)).toContain('data: tick')
    leaving.abort()
    // Nothing is taken back, and the server goes on serving others.
    expect((await agent()(url('next'))).status).toBe(200)
    expect(gateway.charged - before).toBe(40_000n)
    expect(gateway.reports.filter((report) => report.startsWith('release'))).toEqual([])
  })

  test('an agent that leaves before there is an answer is not charged', async () => {
    const pay = agent()
    await pay(url())
    const charged = gateway.charged
    let answerNow: (behaviour: Behaviour) => void = () => {}
    control.behave = () => new Promise((resolve) => (answerNow = resolve))
    const leaving = new AbortController()
    const left = pay(url(), { signal: leaving.signal })
    await vi.waitFor(() => expect(control.calls).toHaveLength(2), soon)
    expect(gateway.charged - charged).toBe(20_000n)
    leaving.abort(new Error('enough'))
    await expect(left).rejects.toThrow('enough')
    // Time for the server to learn of it before the handler has an answer.
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    answerNow(good)
    await vi.waitFor(() => expect(gateway.charged).toBe(charged), soon)
  })

  test('a payment of another price is refused, and the handler does not run', async () => {
    await agent()(url())
    const calls = control.calls.length
    const payment = decodeHeader(sent.at(-1) ?? '', paymentPayloadSchema)
    if (!payment.ok) throw new Error(payment.reason)
    const cheap = { ...payment.value, accepted: { ...payment.value.accepted, amount: '1' } }
    const answer = await again('cheap', encodeHeader(cheap))
    expect([answer.status, await answer.json()]).toMatchObject([402, { code: 'price.changed' }])
    expect(control.calls).toHaveLength(calls)
  })

  describeMetered({
    gateway: () => gateway,
    agent,
    url,
    again: (path, priced) => again(path, undefined, priced),
    behave(behaviour) {
      control.behave = () => behaviour
    },
  })

  describeExact({
    gateway: () => gateway,
    url,
    calls: () => control.calls.length,
    behave(next) {
      control.behave = next
    },
  })

  if (name === 'Next.js') {
    test('the route that the documents show is paid', async () => {
      const answer = await agent()(`${merchant.url}/weather/oslo`)
      expect([answer.status, await answer.json()]).toMatchObject([200, { city: 'oslo' }])
      expect(answer.headers.get('payment-response')).toBeTruthy()
    })
  }

  test('a refusal of the gateway reaches the agent with its code', async () => {
    const pay = agent()
    await pay(url())
    gateway.refuse = () => problem(402, 'grant.frozen')
    await expect(pay(url())).rejects.toMatchObject({ code: 'grant.frozen' })
    expect(control.calls).toHaveLength(1)
  })
})

async function startControl(): Promise<Control> {
  const server = createServer(async (request, response) => {
    control.calls.push((await json(request)) as { path: string; body: unknown })
    response.end(JSON.stringify(await control.behave()))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const control: Control = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: [],
    behave: () => good,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return control
}
