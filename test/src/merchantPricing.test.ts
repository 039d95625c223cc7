import type { AddressInfo } from 'node:net'
import { devAccounts, type Stack, startStack } from '@protocolbanks/stream-dev'
import { createEmbeddedGateway, type EmbeddedGateway } from '@protocolbanks/stream-gateway/embedded'
import { createPayingFetch, PBStream } from '@protocolbanks/stream-sdk'
import express from 'express'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { giveBudget } from './testing/giveBudget.ts'

// Prices by use in a merchant's own server: the SDK's two sides with a real gateway, Redis and Postgres between them.

const timeout = 480_000
let stack: Stack
beforeAll(async () => {
  stack = await startStack()
}, timeout)
afterAll(() => stack?.stop(), 240_000)

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
}, 120_000)

const payee = privateKeyToAddress(generatePrivateKey())

async function startGateway(): Promise<EmbeddedGateway> {
  const gateway = await createEmbeddedGateway({
    databaseUrl: stack.databaseUrl,
    redisUrl: stack.redis?.url,
    rpcUrl: stack.chain.url,
    chain: {
      chainId: stack.chain.chainId,
      module: stack.contracts.sessionKeyValidator,
      settler: devAccounts.settler.address,
      token: stack.contracts.testUsdc,
      entryPoint: stack.entryPoint,
    },
    indexerPollMs: 250,
    merchant: { name: 'by use', payee },
    services: [
      { name: 'words', price: '0.005' },
      { name: 'chat', price: '0.02' },
    ],
  })
  closers.push(gateway.stop)
  const ready = { database: 'ok', meter: 'ok', chain: 'ok' }
  await expect.poll(gateway.readiness, { timeout: 120_000 }).toEqual(ready)
  return gateway
}

/** One server of the merchant: words by the unit, as many as are asked for; and a model by the token. */
async function startMerchant({ connection }: EmbeddedGateway, voucherGraceMs = 30_000): Promise<string> {
  const price = { unit: 'word', rate: '0.001', max: '0.005' }
  const words = new PBStream({ ...connection, service: 'words', price, voucherGraceMs })
  const perMillion = { price: '1', per: 1_000_000 }
  const chat = new PBStream({
    ...connection,
    service: 'chat',
    price: { token: { input: perMillion, output: perMillion }, max: '0.02' },
  })
  const app = express()
  app.use(express.json())
  app.get('/words/:count', words.middleware(), (req, res) => {
    const count = Number(req.params.count)
    words.report(req, count)
    res.json({ words: count })
  })
  app.get('/stream/:count', words.middleware(), async (req, res) => {
    res.type('text/event-stream')
    for (let word = 1; word <= Number(req.params.count) && !res.destroyed; word++) {
      words.report(req, 1)
      if (!res.write(`data: word ${word}\n\n`)) {
        await new Promise<void>((resolve) => res.once('drain', resolve).once('close', resolve))
      }
    }
    res.end()
  })
  app.post('/chat', chat.middleware(), (_, res) => {
    res.json({ text: 'hello', usage: { prompt_tokens: 12, completion_tokens: 30 } })
  })
  const server = app.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  closers.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test(
  'units and tokens are held, captured and told; what the agent counts is what the gateway charged',
  async () => {
    const url = await startMerchant(await startGateway())
    const budget = await giveBudget(stack, { payee })
    const payingFetch = createPayingFetch({ grant: budget.agentGrant, sessionKey: budget.sessionPrivateKey })
    for (const count of [3, 0, 9]) expect((await payingFetch(`${url}/words/${count}`)).status).toBe(200)
    const body = JSON.stringify({ messages: [], max_tokens: 100 })
    const headers = { 'content-type': 'application/json' }
    expect((await payingFetch(`${url}/chat`, { method: 'POST', headers, body })).status).toBe(200)
    const costs = payingFetch.receipts().map(({ amountAtomic }) => amountAtomic)
    expect(costs).toEqual([3_000n, 0n, 5_000n, 42n])
    expect(payingFetch.receipts().at(-1)).toMatchObject({ chargedAtomic: 8_042n })
    expect(payingFetch.spentAtomic()).toBe(8_042n)
  },
  timeout,
)

test(
  'a stream goes on with vouchers that reach another process of the merchant, and costs what it used',
  async () => {
    const [first, second] = await Promise.all([startGateway(), startGateway()])
    const serving = await startMerchant(first)
    const other = await startMerchant(second)
    const budget = await giveBudget(stack, { payee })
    let vouchers = 0
    const payingFetch = createPayingFetch({
      grant: budget.agentGrant,
      sessionKey: budget.sessionPrivateKey,
      fetch(input, init) {
        if (init?.method !== 'HEAD') return fetch(input, init)
        vouchers++
        return fetch(String(input).replace(serving, other), init)
      },
    })
    const text = await (await payingFetch(`${serving}/stream/12`)).text()
    expect(text.match(/^data: word \d+$/gm)).toEqual(
      Array.from({ length: 12 }, (_, index) => `data: word ${index + 1}`),
    )
    expect(vouchers).toBe(2)
    expect(payingFetch.receipts()).toMatchObject([{ amountAtomic: 12_000n, chargedAtomic: 12_000n }])
    expect(payingFetch.spentAtomic()).toBe(12_000n)
  },
  timeout,
)

test(
  'a stream whose voucher does not come is cut, and costs what was delivered',
  async () => {
    const url = await startMerchant(await startGateway(), 500)
    const budget = await giveBudget(stack, { payee })
    const payingFetch = createPayingFetch({
      grant: budget.agentGrant,
      sessionKey: budget.sessionPrivateKey,
      // It is lost on its way.
      fetch: (input, init) => (init?.method === 'HEAD' ? Promise.reject(new TypeError('lost')) : fetch(input, init)),
      // The stream ends first.
      sleep: () => new Promise((resolve) => setTimeout(resolve, 20_000).unref()),
    })
    const answer = await payingFetch(`${url}/stream/12`)
    await expect(answer.text()).rejects.toMatchObject({ code: 'stream.stopped', reason: 'ended_by_service' })
    expect((await payingFetch(`${url}/words/1`)).status).toBe(200)
    expect(payingFetch.receipts().at(-1)).toMatchObject({ amountAtomic: 1_000n, chargedAtomic: 6_000n })
  },
  timeout,
)
