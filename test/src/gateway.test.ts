import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { unfreezeCall } from '@protocolbanks/stream-bundler-client'
import { createChainClients, devAccounts, type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import { encodeHeader } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { createPayingFetch, PBStream } from '@protocolbanks/stream-sdk'
import express from 'express'
import { Hono } from 'hono'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { createDice, mutateHeader } from './testing/mutateHeader.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { readBooks, settleAll } from './testing/settleAll.ts'
import { signPayment } from './testing/signPayment.ts'
import { startGateway } from './testing/startGateway.ts'
import { startTraffic } from './testing/startTraffic.ts'

// The gateway as a process, on a real chain, Redis and Postgres.

const stalenessSeconds = 30
const env = { MAX_CHAIN_STALENESS_SECONDS: `${stalenessSeconds}` }
const timeout = 600_000
const soon = { timeout: 120_000, interval: 50 }

let stack: Stack
let again: Service | undefined
beforeAll(async () => {
  stack = await startStack({ env: { gateway: env } })
}, timeout)
afterAll(async () => {
  await again?.stop()
  await stack?.stop()
}, 240_000)

async function startGatewayAgain(): Promise<void> {
  again = await startGateway(stack, env)
  stack.gateway = again
}

let shops = 0
const closers: (() => Promise<void>)[] = []
beforeEach(() => async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function openNextShop(
  from: 'gateway' | 'itself' = 'gateway',
): Promise<{ shop: Shop; budget: Budget; name: string }> {
  const name = `shop-${++shops}`
  const shop = await openShop(stack, name, { from })
  closers.push(shop.stop)
  return { shop, name, budget: await giveBudget(stack, shop) }
}

function agentOf({ agentGrant, sessionPrivateKey }: Budget): typeof fetch {
  return createPayingFetch({ grant: agentGrant, sessionKey: sessionPrivateKey })
}

describe('a merchant who freezes a session key', () => {
  test('stops its next request, lets it on by unfreezing, and ends it for good by removing it', {
    timeout,
  }, async () => {
    const { shop, budget } = await openNextShop()
    const agent = agentOf(budget)
    const call = () => agent(`${shop.url}/x`)
    const control = async (request: `${'POST' | 'DELETE'} /${string}`) =>
      (await manage(stack, shop.apiKey, request)).status
    const path = `/session-keys/${budget.terms.sessionKey}` as const
    expect((await call()).status).toBe(200)

    expect(await control(`POST ${path}/freeze`)).toBe(200)
    await expect(call()).rejects.toMatchObject({ status: 402, code: 'grant.frozen' })
    expect(await control(`POST ${path}/unfreeze`)).toBe(200)
    expect((await call()).status).toBe(200)

    expect(await control(`DELETE ${path}`)).toBe(200)
    await expect(call()).rejects.toMatchObject({ status: 402, code: 'grant.revoked' })
    expect(await control(`POST ${path}/unfreeze`)).toBe(409)
    await expect(call()).rejects.toMatchObject({ status: 402, code: 'grant.revoked' })
    expect(shop.calls).toHaveLength(2)
    const paid = 2n * priceAtomic
    expect(await settleAll(stack, shop, budget, paid)).toMatchObject({ charged: paid, settled: paid, received: paid })
  })
})

describe('a guardian who freezes the grant on-chain', () => {
  test('is obeyed within the bound, and the owner resumes the grant by a UserOperation', { timeout }, async () => {
    const { shop, budget } = await openNextShop()
    const { account, grantId, bundlerClient } = budget
    const agent = agentOf(budget)
    const outcome = () =>
      agent(`${shop.url}/x`).then(
        ({ status }) => status,
        ({ code }: { code: string }) => code,
      )
    expect(await outcome()).toBe(200)

    const { walletClient, publicClient } = createChainClients(stack.chain.url, devAccounts.guardian.account)
    const module = stack.contracts.sessionKeyValidator
    const freezing = await walletClient.writeContract({
      address: module,
      abi: sessionKeyValidatorAbi,
      functionName: 'freeze',
      args: [account.address, grantId],
    })
    expect((await publicClient.waitForTransactionReceipt({ hash: freezing })).status).toBe('success')
    const frozenAt = Date.now()
    let lastServedAt = frozenAt
    const noted = async () => {
      const askedAt = Date.now()
      const is = await outcome()
      if (is === 200) lastServedAt = askedAt
      return is
    }
    await expect.poll(noted, soon).toBe('grant.frozen')
    expect(lastServedAt - frozenAt).toBeLessThan(stalenessSeconds * 1_000)
    const calls = shop.calls.length
    expect(await outcome()).toBe('grant.frozen')
    expect(shop.calls).toHaveLength(calls)

    const hash = await bundlerClient.sendUserOperation({ account, calls: [unfreezeCall({ module, grantId })] })
    expect((await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })).success).toBe(true)
    await expect.poll(outcome, soon).toBe(200)
  })
})

describe("the SDK's middleware against the gateway", () => {
  const servers: [string, (stream: PBStream) => RequestListener][] = [
    [
      'Express',
      (stream) => {
        const app = express()
        app.use('/paid', stream.middleware())
        app.get('/paid/good', (_, response) => void response.json({ good: true }))
        app.get('/paid/bad', (_, response) => void response.status(500).json({ good: false }))
        return app
      },
    ],
    [
      'Hono',
      (stream) => {
        const app = new Hono()
        app.use('/paid/*', stream.middleware())
        app.get('/paid/good', (c) => c.json({ good: true }))
        app.get('/paid/bad', (c) => c.json({ good: false }, 500))
        return getRequestListener(app.fetch)
      },
    ],
  ]
  test.each(servers)('in %s charges a call and takes back the charge of a 500', { timeout }, async (_, createApp) => {
    const { shop, budget, name } = await openNextShop('itself')
    const gatewayUrl = stack.gateway.url
    const stream = new PBStream({ apiKey: shop.apiKey, service: name, ratePerCall: '0.01', gatewayUrl })
    const url = await listen(createApp(stream))
    const agent = agentOf(budget)

    expect((await fetch(`${url}/paid/good`)).status).toBe(402)
    const good = await agent(`${url}/paid/good`)
    expect(good.headers.get('payment-response')).not.toBeNull()
    expect(await good.json()).toEqual({ good: true })
    const bad = await agent(`${url}/paid/bad`)
    expect(bad.headers.get('payment-response')).toBeNull()
    expect([bad.status, await bad.json()]).toEqual([500, { good: false }])
    expect((await agent(`${url}/paid/good`)).status).toBe(200)

    const paid = 2n * priceAtomic
    const books = { live: paid, charged: paid, settled: paid, received: paid, calls: 2 }
    expect(await settleAll(stack, shop, budget, paid)).toEqual(books)
  })
})

test('10,000 damaged and forged payments give no 5xx and no call that is not charged', { timeout }, async () => {
  const { shop, budget } = await openNextShop()
  const seed = Math.floor(Math.random() * 2 ** 32)
  const dice = createDice(seed)
  const path = '/fuzz'
  // The voucher allows more than one call, so a forged request id could be served: charged, then.
  const cumulativeAmount = 1_000n * priceAtomic
  const payment = await signPayment(stack, shop, budget, { path, requestId: 'the-valid-request-id', cumulativeAmount })
  const send = (header: string) => fetch(`${shop.url}${path}`, { headers: { 'payment-signature': header } })
  expect((await send(encodeHeader(payment))).status).toBe(200)

  const statuses = new Map<number, number>()
  const bad: string[] = []
  let left = 10_000
  const work = async () => {
    while (left-- > 0) {
      const header = mutateHeader(payment, dice)
      const response = await send(header)
      const text = await response.text()
      const { status, headers } = response
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      const isProblem = headers.get('content-type') === 'application/problem+json'
      const isGood = status === 200 ? headers.has('payment-response') : status < 500 && isProblem
      if (!isGood) bad.push(`${status} ${text.slice(0, 200)} for ${header}`)
    }
  }
  await Promise.all(Array.from({ length: 16 }, work))
  expect(bad.slice(0, 5), `seed ${seed}`).toEqual([])
  expect([...statuses.keys()].sort(), `seed ${seed}`).toEqual(expect.arrayContaining([200, 400, 402]))

  const charged = BigInt(shop.calls.length) * priceAtomic
  expect(charged).toBeLessThanOrEqual(cumulativeAmount)
  const books = { live: charged, charged, settled: charged, received: charged, calls: shop.calls.length }
  expect(await settleAll(stack, shop, budget, charged), `seed ${seed}`).toEqual(books)
})

describe('when the gateway ends under traffic', () => {
  test('by SIGTERM, each call that was served is charged and no other, and it goes on after a start', {
    timeout,
  }, async () => {
    const { shop, budget } = await openNextShop()
    const traffic = startTraffic(shop, budget)
    closers.push(traffic.stop)
    await traffic.untilServed(20)
    await stack.gateway.stop()
    expect(await stack.gateway.process.exited).toEqual({ code: 0, signal: null })
    await startGatewayAgain()
    await traffic.untilServed(20)
    await traffic.stop()

    expect(traffic.surprises).toEqual([])
    expect([...traffic.refusals.keys()].filter((kind) => kind.startsWith('500'))).toEqual([])
    const calls = traffic.served()
    expect(shop.calls).toHaveLength(calls)
    const paid = BigInt(calls) * priceAtomic
    const books = { live: paid, charged: paid, settled: paid, received: paid, calls }
    expect(await settleAll(stack, shop, budget, paid)).toEqual(books)
  })

  test('by SIGKILL, what was served is charged once, and a retry after the start is free', { timeout }, async () => {
    const { shop, budget } = await openNextShop()
    const first = { path: '/first', requestId: 'sent-before-and-after', cumulativeAmount: priceAtomic }
    const header = encodeHeader(await signPayment(stack, shop, budget, first))
    const send = () => fetch(`${shop.url}${first.path}`, { headers: { 'payment-signature': header } })
    expect((await send()).status).toBe(200)

    const traffic = startTraffic(shop, budget)
    closers.push(traffic.stop)
    await traffic.untilServed(20)
    stack.gateway.process.signal('SIGKILL')
    await stack.gateway.process.exited
    await startGatewayAgain()
    await traffic.untilServed(20)
    await traffic.stop()
    const before = (await readBooks(stack, shop, budget)).live
    // While the killed process may still be alive, for 10 s, nobody else answers for it.
    await expect.poll(async () => (await send()).status, soon).toBe(200)
    expect(shop.calls.filter((path) => path === first.path)).toHaveLength(2)
    expect((await readBooks(stack, shop, budget)).live).toBe(before)

    expect(traffic.surprises).toEqual([])
    expect([...traffic.refusals.keys()].filter((kind) => kind.startsWith('500'))).toEqual([])
    await expect.poll(async () => (await readBooks(stack, shop, budget)).charged, soon).toBe(before)
    const served = 1 + traffic.served()
    const charged = Number(before / priceAtomic)
    expect(charged).toBeGreaterThanOrEqual(served)
    // At most the calls that were in flight were charged and not answered.
    expect(charged).toBeLessThanOrEqual(served + 4)
    const books = { live: before, charged: before, settled: before, received: before, calls: charged }
    expect(await settleAll(stack, shop, budget, before)).toEqual(books)
  })
})

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
