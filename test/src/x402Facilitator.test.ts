import { serve } from '@hono/node-server'
import { devAccounts, mintTestUsdc, type Stack, startStack } from '@protocolbanks/stream-dev'
import { encodeHeader } from '@protocolbanks/stream-protocol'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { HTTPFacilitatorClient } from '@x402/core/server'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { ExactEvmScheme as ExactEvmServer } from '@x402/evm/exact/server'
import { x402ResourceServer as ExpressServer, paymentMiddleware as expressPayment } from '@x402/express'
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from '@x402/fetch'
import { paymentMiddleware as honoPayment, x402ResourceServer } from '@x402/hono'
import express from 'express'
import { Hono } from 'hono'
import type { Address } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { giveBudget } from './testing/giveBudget.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { readBooks } from './testing/settleAll.ts'
import { signPayment } from './testing/signPayment.ts'

// Servers with x402's own packages have their payments verified and settled by the gateway.

const timeout = 480_000
const network = 'eip155:31337'

let stack: Stack
let shop: Shop
const closers: (() => Promise<void>)[] = []

beforeAll(async () => {
  stack = await startStack()
  shop = await openShop(stack, 'facilitated')
  closers.push(shop.stop)
}, 240_000)
afterAll(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  await stack?.stop()
}, 240_000)

function facilitatorOf(apiKey: string): HTTPFacilitatorClient {
  const headers = { Authorization: `Bearer ${apiKey}` }
  return new HTTPFacilitatorClient({
    url: `${stack.gateway.url}/facilitator`,
    createAuthHeaders: async () => ({ verify: headers, settle: headers, supported: headers }),
  })
}

async function newPayer() {
  const payer = privateKeyToAccount(generatePrivateKey())
  await mintTestUsdc(stack.clients, { token: stack.contracts.testUsdc, to: payer.address, amountAtomic: 1_000_000n })
  return payer
}

const clientOf = (payer: Awaited<ReturnType<typeof newPayer>>) =>
  new x402Client().register(network, new ExactEvmScheme(payer)).setSpendControls({ allowedAssets: true })

const balanceOf = (account: Address) =>
  stack.clients.publicClient.readContract({
    address: stack.contracts.testUsdc,
    abi: testUsdcAbi,
    functionName: 'balanceOf',
    args: [account],
  })

function exactOffer(change: Record<string, unknown> = {}) {
  return {
    scheme: 'exact',
    network,
    amount: '20000',
    asset: stack.contracts.testUsdc,
    payTo: shop.payee,
    maxTimeoutSeconds: 60,
    extra: { name: 'USD Coin', version: '2' },
    ...change,
  } as const
}

async function signedBy(payer: Awaited<ReturnType<typeof newPayer>>, offer = exactOffer()) {
  const resource = { url: 'https://api.example/x' }
  return clientOf(payer).createPaymentPayload({ x402Version: 2, resource, accepts: [offer] } as never)
}

const routes = () => ({
  'GET /paid': {
    accepts: {
      scheme: 'exact',
      network,
      payTo: shop.payee,
      price: { amount: '20000', asset: stack.contracts.testUsdc, extra: { name: 'USD Coin', version: '2' } },
    },
    description: 'paid',
  },
})

describe('a stock server', () => {
  const servers: [string, () => Promise<string>][] = [
    [
      'of Hono',
      async () => {
        const resources = new x402ResourceServer(facilitatorOf(shop.apiKey)).register(network, new ExactEvmServer())
        const app = new Hono()
        app.use(honoPayment(routes() as never, resources))
        app.get('/paid', (c) => c.json({ good: true }))
        return new Promise((resolve) => {
          const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) =>
            resolve(`http://127.0.0.1:${port}`),
          )
          closers.push(() => new Promise((done) => server.close(() => done())))
        })
      },
    ],
    [
      'of Express',
      async () => {
        const resources = new ExpressServer(facilitatorOf(shop.apiKey)).register(network, new ExactEvmServer())
        const app = express()
        app.use(expressPayment(routes() as never, resources))
        app.get('/paid', (_, response) => void response.json({ good: true }))
        return new Promise((resolve) => {
          const server = app.listen(0, '127.0.0.1', () => {
            const address = server.address()
            resolve(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`)
          })
          closers.push(() => new Promise((done) => server.close(() => done())))
        })
      },
    ],
  ]
  test.each(servers)('%s takes a payment of a stock client', { timeout }, async (_, start) => {
    const url = await start()
    const payer = await newPayer()
    const before = await balanceOf(shop.payee)
    const response = await wrapFetchWithPayment(fetch, clientOf(payer))(`${url}/paid`)
    expect([response.status, await response.json()]).toEqual([200, { good: true }])
    const receipt = decodePaymentResponseHeader(response.headers.get('payment-response') ?? '')
    expect(receipt).toMatchObject({ success: true, network, payer: payer.address })
    expect(await balanceOf(shop.payee)).toBe(before + 20_000n)
  })
})

describe('exact', () => {
  test('is settled once, and then verified no more', { timeout }, async () => {
    const facilitator = facilitatorOf(shop.apiKey)
    const payer = await newPayer()
    const payment = await signedBy(payer)
    const before = await balanceOf(shop.payee)
    expect(await facilitator.verify(payment, exactOffer())).toMatchObject({ isValid: true, payer: payer.address })
    const settled = await Promise.all(Array.from({ length: 5 }, () => facilitator.settle(payment, exactOffer())))
    expect(settled.filter(({ success }) => success)).toHaveLength(1)
    expect(await balanceOf(shop.payee)).toBe(before + 20_000n)
    const used = { isValid: false, invalidReason: 'invalid_exact_evm_nonce_already_used' }
    expect(await facilitator.verify(payment, exactOffer())).toMatchObject(used)
    const again = await facilitator.settle(payment, exactOffer())
    expect(again).toMatchObject({ success: false, errorReason: used.invalidReason, transaction: /^0x/ })
  })

  test('is refused for another payee, another token, too little, and without a key', { timeout }, async () => {
    const facilitator = facilitatorOf(shop.apiKey)
    const payer = await newPayer()
    const reasonOf = async (change: Record<string, unknown>) => {
      const offer = exactOffer(change)
      return (await facilitator.verify(await signedBy(payer, offer), offer)).invalidReason
    }
    expect(await reasonOf({ payTo: devAccounts.owner.address })).toBe('invalid_exact_evm_recipient_mismatch')
    expect(await reasonOf({ asset: devAccounts.owner.address })).toBe('invalid_payment_requirements')
    expect(await reasonOf({ amount: '999' })).toBe('invalid_payment_requirements')
    const stranger = new HTTPFacilitatorClient({ url: `${stack.gateway.url}/facilitator` })
    await expect(stranger.verify(await signedBy(payer), exactOffer())).rejects.toThrow(/401/)
    await expect(facilitatorOf('pb_nobody').settle(await signedBy(payer), exactOffer())).rejects.toThrow(/401/)
  })

  test('says what it supports to everybody', { timeout }, async () => {
    const supported = await new HTTPFacilitatorClient({ url: `${stack.gateway.url}/facilitator` }).getSupported()
    expect(supported.kinds.map(({ scheme, network: where }) => `${scheme} ${where}`)).toEqual([
      `session ${network}`,
      `exact ${network}`,
    ])
    expect(supported.signers).toEqual({ 'eip155:*': [devAccounts.relayer.address] })
  })

  test('takes the shapes of version 1', { timeout }, async () => {
    const payment = await signedBy(await newPayer())
    const { amount, ...offer } = exactOffer()
    const body = {
      x402Version: 1,
      paymentPayload: { x402Version: 1, scheme: 'exact', network, payload: payment.payload },
      paymentRequirements: { ...offer, maxAmountRequired: amount, resource: 'https://api.example/x', description: '' },
    }
    const ask = async (path: string, json: unknown) => {
      const response = await fetch(`${stack.gateway.url}/facilitator/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${shop.apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify(json),
      })
      return { status: response.status, body: await response.json() }
    }
    expect(await ask('verify', body)).toMatchObject({ status: 200, body: { isValid: true } })
    expect(await ask('settle', body)).toMatchObject({ status: 200, body: { success: true, network } })
    expect(await ask('verify', {})).toMatchObject({ status: 400, body: { isValid: false } })
    expect(await ask('settle', { paymentPayload: 7 })).toMatchObject({ status: 400, body: { success: false } })
  })
})

test('session is verified without a charge, and charged once when it is settled', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const path = '/somewhere'
  const request = { path, requestId: 'of-a-server-elsewhere', cumulativeAmount: priceAtomic }
  const payment = await signPayment(stack, shop, budget, request)
  const facilitator = facilitatorOf(shop.apiKey)
  const offer = payment.accepted as never
  expect(encodeHeader(payment).length).toBeLessThan(8_192)
  for (let times = 0; times < 2; times++) {
    expect(await facilitator.verify(payment as never, offer)).toMatchObject({
      isValid: true,
      payer: budget.account.address,
    })
  }
  // What says that it is a further voucher of a stream pays for no call.
  const ofStream = { ...payment, extensions: { ...payment.extensions, session: { voucherFor: request.requestId } } }
  expect(await facilitator.verify(ofStream as never, offer)).toMatchObject({ invalidReason: 'payment.malformed' })
  expect((await readBooks(stack, shop, budget)).live).toBe(0n)
  expect(await facilitator.settle(payment as never, offer)).toMatchObject({
    success: true,
    payer: budget.account.address,
    amount: `${priceAtomic}`,
    extra: { grantId: budget.grantId, charged: `${priceAtomic}` },
  })
  expect(await facilitator.settle(payment as never, offer)).toMatchObject({ success: false })
  expect(await facilitator.verify(payment as never, offer)).toMatchObject({ invalidReason: 'voucher.exhausted' })
  expect((await readBooks(stack, shop, budget)).live).toBe(priceAtomic)
})
