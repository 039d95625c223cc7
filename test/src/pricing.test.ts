import { request as httpRequest, type ServerResponse } from 'node:http'
import { type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import {
  decodeHeader,
  encodeHeader,
  paymentSignatureHeader,
  settleResponseSchema,
} from '@protocolbanks/stream-protocol'
import { createPayingFetch, type Receipt } from '@protocolbanks/stream-sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { openMeteredShop } from './testing/openMeteredShop.ts'
import { readBooks } from './testing/settleAll.ts'
import { signPayment } from './testing/signPayment.ts'
import { startGateway } from './testing/startGateway.ts'

// Calls priced by use, through two gateways with one Redis, paid by the agent of the SDK and by hand.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 100 }

let stack: Stack
let other: Service
let shop: Awaited<ReturnType<typeof open>>
beforeAll(async () => {
  stack = await startStack()
  other = await startGateway(stack, {}, { label: 'gateway-2' })
  shop = await open()
}, timeout)
afterAll(async () => {
  await shop?.stop()
  await other?.stop()
  await stack?.stop()
}, 240_000)

const tokens = (prompt: number, completion: number) => ({
  usage: { prompt_tokens: prompt, completion_tokens: completion },
})
const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`
const perToken = {
  kind: 'token',
  input: { price: '0.15', per: 1_000 },
  output: { price: '0.6', per: 1_000 },
} as const
/** 150 base units for a token that is read, 600 for one that is written. */
const costOf = (prompt: number, completion: number) => BigInt(prompt * 150 + completion * 600)

/** Sends what is said of it, a piece at a time. */
function open() {
  return openMeteredShop(stack, 'metered', {
    chat: {
      price: '0.1',
      pricing: perToken,
      serve(_, response, url) {
        if (url.searchParams.has('json')) {
          response.setHeader('content-type', 'application/json')
          response.end(JSON.stringify({ choices: [], ...tokens(11, 20) }))
          return
        }
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        const count = Number(url.searchParams.get('events') ?? 3)
        const sent = Array.from({ length: count }, (_, index) =>
          event({ choices: [{ delta: { content: 'word' } }], ...tokens(10, index + 1) }),
        )
        // Cut anywhere.
        const text = `${sent.join('')}data: [DONE]\n\n`
        for (let at = 0; at < text.length; at += 13) response.write(text.slice(at, at + 13))
        response.end()
      },
    },
    // Every event says that ten more tokens were used: 6,000 base units. A segment holds 20,000.
    long: {
      price: '0.02',
      pricing: perToken,
      voucherGraceMs: 60_000,
      serve: (_, response, url) => sendLong(response, Number(url.searchParams.get('events'))),
    },
    impatient: {
      price: '0.02',
      pricing: perToken,
      voucherGraceMs: 200,
      serve: (_, response, url) => sendLong(response, Number(url.searchParams.get('events'))),
    },
    pages: {
      price: '0.05',
      pricing: { kind: 'unit', unit: 'page', rate: { price: '0.0025', per: 1 } },
      serve(_, response, url) {
        response.setHeader('payment-units', url.searchParams.get('pages') ?? '0')
        response.end('pages')
      },
    },
    files: {
      price: '0.05',
      pricing: { kind: 'byte', rate: { price: '1', per: 1_000_000 } },
      serve(_, response, url) {
        response.writeHead(200, { 'content-type': 'application/octet-stream' })
        const thousands = Number(url.searchParams.get('thousands'))
        for (let sent = 0; sent < thousands; sent++) response.write('z'.repeat(1_000))
        // Or it stays open until the client leaves.
        if (!url.searchParams.has('open')) response.end()
      },
    },
    time: {
      price: '0.5',
      pricing: { kind: 'second', rate: { price: '0.1', per: 1 } },
      serve(_, response) {
        setTimeout(() => response.end('late'), 300)
      },
    },
    routed: {
      price: '0.01',
      routes: [
        { method: 'POST', path: '/large/:size', price: '0.03' },
        { path: '/docs/*', price: '0.000005' },
      ],
      serve: (_, response) => void response.end('routed'),
    },
  })
}

function sendLong(response: ServerResponse, count: number) {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (let index = 1; index <= count; index++) response.write(event({ choices: [], ...tokens(0, index * 10) }))
  response.end()
}

function agentOf({ agentGrant, sessionPrivateKey }: Budget) {
  const receipts: Receipt[] = []
  const pay = createPayingFetch({
    grant: agentGrant,
    sessionKey: sessionPrivateKey,
    onReceipt: (receipt) => void receipts.push(receipt),
  })
  return { pay, receipts, sum: () => receipts.reduce((sum, { amountAtomic }) => sum + amountAtomic, 0n) }
}

/** Meter and journal say the same, and that. */
async function expectBooks(budget: Budget, amount: bigint) {
  const read = async () => {
    const { live, charged } = await readBooks(stack, shop, budget)
    return { live, charged }
  }
  await expect.poll(read, soon).toEqual({ live: amount, charged: amount })
}

test('an agent pays for units, tokens, bytes, time and routes what was used; receipts, journal and meter agree', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const { pay, receipts, sum } = agentOf(budget)
  const last = () => receipts.at(-1)?.amountAtomic
  const { chat, pages, files, time, routed } = shop.urls

  expect(await (await pay(`${pages}?pages=3`)).text()).toBe('pages')
  expect(last()).toBe(7_500n)
  expect(await (await pay(`${pages}?pages=0.5`)).text()).toBe('pages')
  expect(last()).toBe(1_250n)
  expect(await (await pay(`${chat}?json`)).json()).toMatchObject(tokens(11, 20))
  expect(last()).toBe(costOf(11, 20))
  expect(await (await pay(`${chat}?events=30`)).text()).toContain('[DONE]')
  expect(last()).toBe(costOf(10, 30))
  expect(await (await pay(time)).text()).toBe('late')
  expect(last()).toBeGreaterThanOrEqual(25_000n)
  expect(last()).toBeLessThanOrEqual(500_000n)
  expect(await (await pay(routed)).text()).toBe('routed')
  expect(last()).toBe(10_000n)
  expect(await (await pay(`${routed}/docs/a/b`)).text()).toBe('routed')
  expect(last()).toBe(5n)
  expect(await (await pay(`${routed}/large/xl`, { method: 'POST' })).text()).toBe('routed')
  expect(last()).toBe(30_000n)
  await expectBooks(budget, sum())

  // Of a stream of bytes the receipt in its head is of what is held: what it cost is known after it.
  const { length } = await (await pay(`${files}?thousands=20`)).text()
  await expectBooks(budget, sum() - (last() ?? 0n) + BigInt(length))
})

test('an agent keeps a long stream going with one voucher after the other, and pays it to the last token', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const { pay, receipts } = agentOf(budget)
  const text = await (await pay(`${shop.urls.long}?events=25`)).text()
  expect(text).toContain('"completion_tokens":250')
  expect(text).toContain('event: payment-need-voucher')
  expect(receipts.at(-1)?.amountAtomic).toBe(costOf(0, 250))
  await expectBooks(budget, costOf(0, 250))
})

test('a captured call that is asked for again costs nothing more, and has the same receipt', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const url = `${shop.urls.chat}?json`
  const requestId = 'captured-request-1'
  const signed = await signPayment(stack, { ...shop, url }, budget, { path: '', requestId, cumulativeAmount: 100_000n })
  const headers = { [paymentSignatureHeader]: encodeHeader(signed) }
  for (let times = 0; times < 2; times++) {
    const answer = await fetch(url, { headers })
    expect(await answer.json()).toMatchObject(tokens(11, 20))
    const receipt = decodeHeader(answer.headers.get('payment-response') ?? '', settleResponseSchema)
    expect(receipt).toMatchObject({ ok: true, value: { amount: `${costOf(11, 20)}` } })
  }
  await expectBooks(budget, costOf(11, 20))
})

test('who leaves a stream pays for what was delivered', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const url = `${shop.urls.files}?thousands=6&open`
  const requestId = 'left-half-way-000001'
  const signed = await signPayment(stack, { ...shop, url }, budget, { path: '', requestId, cumulativeAmount: 50_000n })
  const received = await new Promise<number>((resolve, reject) => {
    let size = 0
    const asked = httpRequest(url, { headers: { [paymentSignatureHeader]: encodeHeader(signed) } }, (response) => {
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size < 5_000) return
        response.destroy()
        resolve(size)
      })
    })
    asked.on('error', reject).end()
  })
  // What was on its way when the client left was delivered as far as the gateway can know.
  const paid = async () => (await readBooks(stack, shop, budget)).charged
  await expect.poll(paid, soon).toBeGreaterThanOrEqual(BigInt(received))
  expect(await paid()).toBeLessThanOrEqual(6_000n)
  await expectBooks(budget, await paid())
})

test('a stream goes on with a voucher that came to another gateway', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const url = `${shop.urls.long}?events=9`
  const requestId = 'through-another-00001'
  const sign = (cumulativeAmount: bigint) =>
    signPayment(stack, { ...shop, url }, budget, { path: '', requestId, cumulativeAmount })
  const headers = { [paymentSignatureHeader]: encodeHeader(await sign(20_000n)) }
  const reader = (await fetch(url, { headers })).body?.getReader()
  let text = ''
  let sent = 0
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined }
    if (done) break
    text += Buffer.from(value ?? []).toString()
    const asked = [...text.matchAll(/event: payment-need-voucher\ndata: (.*)\n/g)]
    if (asked.length === sent) continue
    sent = asked.length
    const { requiredCumulative } = JSON.parse(asked.at(-1)?.[1] ?? '{}') as { requiredCumulative: string }
    const next = await sign(BigInt(requiredCumulative))
    const extensions = { ...next.extensions, session: { voucherFor: requestId } }
    const voucher = encodeHeader({ ...next, extensions })
    const elsewhere = url.replace(stack.gateway.url, other.url)
    const taken = await fetch(elsewhere, { method: 'HEAD', headers: { [paymentSignatureHeader]: voucher } })
    expect(taken.status).toBe(204)
  }
  expect(sent).toBe(2)
  expect(text).toContain('"completion_tokens":90')
  expect(text).toMatch(/event: payment-receipt\ndata: \{"amount":"54000"/)
  await expectBooks(budget, 54_000n)
})

test('a stream whose next voucher does not come is cut, says why, and is paid exactly', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const url = `${shop.urls.impatient}?events=9`
  const requestId = 'no-voucher-comes-0001'
  const signed = await signPayment(stack, { ...shop, url }, budget, { path: '', requestId, cumulativeAmount: 20_000n })
  const text = await (await fetch(url, { headers: { [paymentSignatureHeader]: encodeHeader(signed) } })).text()
  expect(text).toContain('"completion_tokens":30')
  expect(text).not.toContain('"completion_tokens":40')
  expect(text).toMatch(/event: payment-receipt\ndata: \{"amount":"18000"/)
  expect(text).toMatch(/event: payment-error\ndata: \{.*"code":"voucher.exhausted"/)
  await expectBooks(budget, 18_000n)
})
