import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { devAccounts, mintTestUsdc, type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import { encodeHeader } from '@protocolbanks/stream-protocol'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { PBStream } from '@protocolbanks/stream-sdk'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client, x402HTTPClient } from '@x402/fetch'
import express from 'express'
import { Hono } from 'hono'
import type { Address, Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { manage } from './testing/manage.ts'
import { startGateway } from './testing/startGateway.ts'

// A stock x402 client pays merchants who serve their API themselves, behind the SDK's middleware.

const timeout = 480_000
const network = 'eip155:31337'
const price = 20_000n

let stack: Stack
const closers: (() => Promise<void>)[] = []

beforeAll(async () => {
  stack = await startStack()
}, 240_000)
afterAll(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  await stack?.stop()
}, 240_000)

type Answer = { status: number; body: object }

type Merchant = {
  url: string
  apiKey: string
  /** Its name at the gateway. */
  service: string
  payee: Address
  /** Calls that reached the handler. */
  calls: string[]
  /** What the handler does next, and from then on. */
  answer(next: (call: number) => Answer | Promise<Answer>): void
}

type Serve = (stream: PBStream, handle: (path: string) => Promise<Answer>) => Promise<string>

const serveExpress: Serve = async (stream, handle) => {
  const app = express()
  app.use('/weather', stream.middleware(), async (req, res) => {
    const { status, body } = await handle(req.originalUrl)
    res.status(status).json(body)
  })
  app.use((_: Error, __: express.Request, res: express.Response, ___: express.NextFunction) => void res.sendStatus(500))
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

const serveHono: Serve = async (stream, handle) => {
  const app = new Hono()
  app.use('/weather/*', stream.middleware())
  app.get('/weather/*', async (c) => {
    const { status, body } = await handle(c.req.path)
    return c.json(body, status as 200)
  })
  app.onError((_, c) => c.body(null, 500))
  return new Promise((resolve) => {
    const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
      closers.push(
        () =>
          new Promise((closed) => {
            server.close(() => closed())
            if ('closeAllConnections' in server) server.closeAllConnections()
          }),
      )
      resolve(`http://127.0.0.1:${port}`)
    })
  })
}

let merchants = 0

/** A merchant who takes 0.01 by session and 0.02 by exact. */
async function openMerchant(serveWith: Serve, gatewayUrl = stack.gateway.url): Promise<Merchant> {
  const name = `self-${++merchants}`
  const payee = privateKeyToAddress(generatePrivateKey())
  const create = async <T>(key: string, path: string, json: unknown): Promise<T> => {
    const made = await manage<T>(stack, key, `POST /${path}`, json)
    expect(made, JSON.stringify(made.body)).toMatchObject({ status: 201 })
    return made.body
  }
  const { id: merchantId } = await create<{ id: string }>(stack.operatorApiKey, 'merchants', { name, payee })
  const { key: apiKey } = await create<{ key: string }>(stack.operatorApiKey, 'api-keys', { merchantId, name })
  await create(apiKey, 'services', { name, pathPrefix: `/${name}`, upstream: null, price: '0.01', exactPrice: '0.02' })
  const stream = new PBStream({ apiKey, service: name, ratePerCall: '0.01', gatewayUrl, onError: () => {} })
  const calls: string[] = []
  let next: (call: number) => Answer | Promise<Answer> = (call) => ({ status: 200, body: { call } })
  const url = await serveWith(stream, async (path) => next(calls.push(path)))
  const merchant: Merchant = {
    url: `${url}/weather/oslo`,
    apiKey,
    service: name,
    payee,
    calls,
    answer(change) {
      next = change
    },
  }
  await expect.poll(() => schemesOf(merchant.url), { timeout: 120_000 }).toEqual(['session', 'exact'])
  return merchant
}

async function schemesOf(url: string): Promise<string[]> {
  const required = (await fetch(url)).headers.get('payment-required')
  if (required === null) return []
  const { accepts } = JSON.parse(Buffer.from(required, 'base64').toString()) as { accepts: { scheme: string }[] }
  return accepts.map(({ scheme }) => scheme)
}

type Signer = ConstructorParameters<typeof ExactEvmScheme>[0]

let minting = Promise.resolve()

async function newPayer() {
  const account = privateKeyToAccount(generatePrivateKey())
  const mint = { token: stack.contracts.testUsdc, to: account.address, amountAtomic: 1_000_000n }
  // One after the other: they have one sender.
  minting = minting.then(() => mintTestUsdc(stack.clients, mint))
  await minting
  return account
}

function clientOf(signer: Signer): x402Client {
  return new x402Client().register(network, new ExactEvmScheme(signer)).setSpendControls({ allowedAssets: true })
}

const balanceOf = (account: Address) =>
  stack.clients.publicClient.readContract({
    address: stack.contracts.testUsdc,
    abi: testUsdcAbi,
    functionName: 'balanceOf',
    args: [account],
  })

/** A payment as a stock client makes it, to be sent as one likes. */
async function stockPayment(url: string, id?: string, payer?: Signer): Promise<string> {
  const client = clientOf(payer ?? (await newPayer()))
  const response = await fetch(url)
  const required = new x402HTTPClient(client).getPaymentRequiredResponse((name) => response.headers.get(name))
  const payment = await client.createPaymentPayload(required)
  const named = { extensions: { 'payment-identifier': { info: { required: false, id } } } }
  return encodeHeader({ ...payment, ...(id !== undefined && named) })
}

async function send(url: string, payment: string) {
  const response = await fetch(url, { headers: { 'payment-signature': payment } })
  const text = await response.text()
  const body = text.startsWith('{') ? JSON.parse(text) : text
  const receipt = response.headers.get('payment-response')
  return { status: response.status, body, receipt: receipt === null ? undefined : decodePaymentResponseHeader(receipt) }
}

/** Another gateway for the same clients. */
const gatewayEnv = () => ({ RELAYER_KEY: devAccounts.relayer.privateKey, PUBLIC_URL: stack.gateway.url })

const soon = { timeout: 180_000, interval: 500 }

test('what was settled and not served is owed by the gateway that settled it, once', { timeout }, async () => {
  const { url, payee, apiKey, service } = await openMerchant(serveExpress)
  const payment = await stockPayment(url)
  const ask = async (path: string, json?: object) => {
    const answer = await fetch(`${stack.gateway.url}/api/charges${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      ...(json && { body: JSON.stringify(json) }),
    })
    return (await answer.json()) as { outcome: string; ticket: string; headers: Record<string, string>; body: string }
  }
  const request = { service, amountAtomic: '10000', method: 'GET', url, paymentSignature: payment }
  const charge = () => ask('', { ...request, settles: true })
  // A server that does not say that it settles.
  expect(JSON.parse((await ask('', request)).body)).toMatchObject({ code: 'scheme.unsupported' })

  const { ticket } = await charge()
  expect(await balanceOf(payee)).toBe(0n)
  const settled = await ask(`/${ticket}/settle`)
  expect([settled.outcome, await balanceOf(payee)]).toEqual(['settled', price])
  expect(await ask(`/${ticket}/settle`)).toEqual(settled)
  expect(await ask(`/${ticket}/release`)).toEqual({ released: false })
  // Longer than a gateway waits before it says again what it is at.
  await new Promise((resolve) => setTimeout(resolve, 6_000))
  let again = settled
  const askAgain = async () => {
    again = await charge()
    return again.outcome
  }
  await expect.poll(askAgain, soon).toBe('charged')
  expect(await ask(`/${again.ticket}/settle`)).toMatchObject({ outcome: 'settled' })
  expect(await ask(`/${again.ticket}/served`)).toEqual({ released: false })
  await expect.poll(async () => JSON.parse((await charge()).body).code, soon).toBe('request.answered')
  expect(await balanceOf(payee)).toBe(price)
})

describe.each([
  ['Express', serveExpress],
  ['Hono', serveHono],
])('a merchant on %s', (_, serveWith) => {
  test('is paid once, and the money is there when the answer is', { timeout }, async () => {
    const merchant = await openMerchant(serveWith)
    const payer = await newPayer()
    const response = await wrapFetchWithPayment(fetch, clientOf(payer))(merchant.url)
    expect(await balanceOf(merchant.payee)).toBe(price)
    expect([response.status, await response.json()]).toEqual([200, { call: 1 }])
    const receipt = decodePaymentResponseHeader(response.headers.get('payment-response') ?? '')
    expect(receipt).toMatchObject({ success: true, network, payer: payer.address, amount: '20000' })
    const transaction = await stack.clients.publicClient.getTransactionReceipt({ hash: receipt.transaction as Hex })
    expect(transaction).toMatchObject({ status: 'success' })
    expect(merchant.calls).toHaveLength(1)
  })

  test('whose handler fails is not paid, and the same payment pays for the next call', { timeout }, async () => {
    const merchant = await openMerchant(serveWith)
    const payment = await stockPayment(merchant.url)
    for (const status of [500, 404]) {
      merchant.answer(() => ({ status, body: { failed: status } }))
      expect(await send(merchant.url, payment)).toMatchObject({ status, body: { failed: status }, receipt: undefined })
    }
    merchant.answer(() => {
      throw new Error('no data')
    })
    expect(await send(merchant.url, payment)).toMatchObject({ status: 500, receipt: undefined })
    expect(await balanceOf(merchant.payee)).toBe(0n)
    merchant.answer(() => ({ status: 200, body: { good: true } }))
    expect(await send(merchant.url, payment)).toMatchObject({ status: 200, body: { good: true } })
    expect(await balanceOf(merchant.payee)).toBe(price)
  })

  test('serves a payment once that comes twenty times at once, and gives its answer to repetitions', {
    timeout,
  }, async () => {
    const merchant = await openMerchant(serveWith)
    for (const id of [undefined, `id_${'a'.repeat(30)}`]) {
      merchant.calls.length = 0
      const before = await balanceOf(merchant.payee)
      const payment = await stockPayment(merchant.url, id)
      const answers = await Promise.all(Array.from({ length: 20 }, () => send(merchant.url, payment)))
      for (const { status, body } of answers) {
        if (status === 200) expect(body).toEqual({ call: 1 })
        else expect([status, body.code]).toEqual([409, expect.stringMatching(/^request\.(in_progress|answered)$/)])
      }
      expect(answers.some(({ status }) => status === 200)).toBe(true)
      await expect.poll(async () => (await send(merchant.url, payment)).body, soon).toEqual({ call: 1 })
      expect(merchant.calls).toHaveLength(1)
      expect((await balanceOf(merchant.payee)) - before).toBe(price)
    }
  })

  test('whose payment cannot be settled after the call gives no answer', { timeout }, async () => {
    const merchant = await openMerchant(serveWith)
    const payer = await newPayer()
    const payment = await stockPayment(merchant.url, undefined, payer)
    merchant.answer(async () => {
      // The token stops the payer while the call is served.
      await setBlocked(payer.address, true)
      return { status: 200, body: { secret: 'unpaid' } }
    })
    const refused = await send(merchant.url, payment)
    expect(refused).toMatchObject({
      status: 402,
      body: { code: 'exact.settlement_failed' },
      receipt: { success: false },
    })
    expect(JSON.stringify(refused.body)).not.toContain('unpaid')
    expect(await balanceOf(merchant.payee)).toBe(0n)
    await setBlocked(payer.address, false)
    merchant.answer(() => ({ status: 200, body: { good: true } }))
    expect(await send(merchant.url, payment)).toMatchObject({ status: 200, body: { good: true } })
    expect(await balanceOf(merchant.payee)).toBe(price)
  })

  test.each(['exact.served', 'exact.settled'])(
    'is paid once when its gateway dies at %s, and the same payment is answered',
    { timeout },
    async (point) => {
      const label = `dying-${merchants}-${point}`
      const dying: Service = await startGateway(stack, { ...gatewayEnv(), CRASH_AT: point }, { label })
      closers.push(dying.stop)
      const merchant = await openMerchant(serveWith, dying.url)
      const payment = await stockPayment(merchant.url)
      const lost = await send(merchant.url, payment)
      expect(lost).toMatchObject({ status: 503, body: { code: 'exact.settlement_unknown' }, receipt: undefined })
      await dying.process.exited
      const port = Number(new URL(dying.url).port)
      const next = await startGateway(stack, gatewayEnv(), { label: `${label}-next`, port })
      closers.push(next.stop)
      await expect.poll(async () => (await send(merchant.url, payment)).status, soon).toBe(200)
      expect(await balanceOf(merchant.payee)).toBe(price)
      expect((await send(merchant.url, payment)).status).toBe(200)
      expect(await balanceOf(merchant.payee)).toBe(price)
      expect(merchant.calls.length).toBeLessThanOrEqual(2)
    },
  )
})

async function setBlocked(account: Address, isBlocked: boolean): Promise<void> {
  const hash = await stack.clients.walletClient.writeContract({
    address: stack.contracts.testUsdc,
    abi: testUsdcAbi,
    functionName: 'setBlocked',
    args: [account, isBlocked],
  })
  await stack.clients.publicClient.waitForTransactionReceipt({ hash })
}
