import type { AddressInfo } from 'node:net'
import { devAccounts, type Stack, startStack } from '@protocolbanks/stream-dev'
import { createEmbeddedGateway, type EmbeddedGateway } from '@protocolbanks/stream-gateway/embedded'
import { createPayingFetch, PBStream } from '@protocolbanks/stream-sdk'
import express from 'express'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import type { Shop } from './testing/openShop.ts'
import { settleAll } from './testing/settleAll.ts'

// A merchant who hosts everything: the gateway in their own process, on a real chain, Redis and Postgres, and settlement.

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

async function startGateway(options: { tokenDecimals?: number } = {}): Promise<EmbeddedGateway> {
  const gateway = await createEmbeddedGateway({
    ...options,
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
    merchant: { name: 'self-hosted', payee },
    services: [{ name: 'reports', price: '0.01' }],
  })
  closers.push(gateway.stop)
  const ready = { database: 'ok', meter: 'ok', chain: 'ok' }
  await expect.poll(gateway.readiness, { timeout: 120_000 }).toEqual(ready)
  return gateway
}

/** A server with the middleware over a gateway in this process. */
async function startMerchant(gateway: EmbeddedGateway): Promise<{ url: string; served: string[] }> {
  const served: string[] = []
  const stream = new PBStream({ ...gateway.connection, service: 'reports', ratePerCall: '0.01' })
  const app = express()
  app.use('/reports', stream.middleware())
  app.get('/reports/:name', (req, res) => {
    if (req.params.name === 'broken') return void res.status(500).json({ error: 'no report' })
    served.push(req.params.name)
    res.json({ report: req.params.name, number: served.length })
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
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/reports`, served }
}

test(
  'calls are charged, retried for free, journalled and settled with no gateway process in between',
  async () => {
    const merchant = await startMerchant(await startGateway())
    const budget = await giveBudget(stack, { payee })
    let payment = ''
    const payingFetch = createPayingFetch({
      grant: budget.agentGrant,
      sessionKey: budget.sessionPrivateKey,
      async fetch(input, init) {
        payment = new Headers(init?.headers).get('payment-signature') ?? payment
        return fetch(input, init)
      },
    })
    expect((await fetch(`${merchant.url}/a`)).status).toBe(402)
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => payingFetch(`${merchant.url}/r${index}`)),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200))

    // A failed call costs nothing, and a repeated one gets the first answer.
    expect((await payingFetch(`${merchant.url}/broken`)).status).toBe(500)
    const first = await payingFetch(`${merchant.url}/last`)
    const again = await fetch(`${merchant.url}/last`, { headers: { 'payment-signature': payment } })
    expect([again.status, await again.text()]).toEqual([200, await first.text()])
    expect(merchant.served).toHaveLength(21)

    // What the operator of the same Postgres sees is what was served; and the chain pays it.
    const { body } = await manage<{ merchants: { id: string; payee: string }[] }>(
      stack,
      stack.operatorApiKey,
      'GET /merchants',
    )
    const merchantId = body.merchants.find((one) => one.payee === payee)?.id
    const { body: key } = await manage<{ key: string }>(stack, stack.operatorApiKey, 'POST /api-keys', {
      merchantId,
      name: 'own',
    })
    const shop = { payee, apiKey: key.key } as Shop
    const expected = 210_000n
    expect(await settleAll(stack, shop, budget, expected)).toMatchObject({
      live: expected,
      charged: expected,
      settled: expected,
      received: expected,
    })
  },
  timeout,
)

test(
  'two processes of one merchant share what was charged, and a restart changes neither merchant nor service',
  async () => {
    const gateways = await Promise.all([startGateway(), startGateway()])
    const [first, second] = await Promise.all(gateways.map(startMerchant))
    if (!first || !second) throw new Error('there are two')
    const budget = await giveBudget(stack, { payee })
    const payingFetch = createPayingFetch({ grant: budget.agentGrant, sessionKey: budget.sessionPrivateKey })
    for (const { url } of [first, second, first, second]) expect((await payingFetch(`${url}/x`)).status).toBe(200)
    expect(payingFetch.receipts().at(-1)).toMatchObject({ chargedAtomic: 40_000n })
    const { body } = await manage<{ merchants: { payee: string }[] }>(stack, stack.operatorApiKey, 'GET /merchants')
    expect(body.merchants.filter((one) => one.payee === payee)).toHaveLength(1)
  },
  timeout,
)

test('prices have the decimals of the token on the chain, and a merchant who says others is told before anything runs', async () => {
  const gateway = await startGateway({ tokenDecimals: 6 })
  expect(gateway.connection.decimals).toBe(6)
  await expect(startGateway({ tokenDecimals: 18 })).rejects.toMatchObject({ code: 'token.decimals_differ' })
}, 120_000)
