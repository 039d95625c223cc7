import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import { devAccounts, mintTestUsdc, type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import { Challenge, Credential, PaymentRequest, Receipt } from 'mppx'
import { evm, Mppx } from 'mppx/client'
import { validate } from 'mppx/discovery'
import { challengeHash, toSource } from 'mppx/evm'
import type { Address, Hex } from 'viem'
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { manage } from './testing/manage.ts'
import { startGateway } from './testing/startGateway.ts'

// mppx as it is published, against the gateway as a process on a real chain.

const timeout = 480_000
const chainId = 31_337
const price = 20_000n
const problems = 'https://paymentauth.org/problems'

let stack: Stack
let login: ReturnType<typeof connectAsLogin>
const closers: (() => Promise<void>)[] = []

beforeAll(async () => {
  stack = await startStack()
  login = connectAsLogin(stack.databaseUrl)
}, 240_000)
afterAll(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  await login?.close()
  await stack?.stop()
}, 240_000)

type Call = { method: string; url: string; headers: Record<string, string | string[] | undefined>; body: string }
type Shop = { name: string; url: string; payee: Address; apiKey: string; calls: Call[]; answer(status: number): void }

let shops = 0

/** A merchant who takes single payments for 0.02, and whose API remembers its calls. */
async function openShop({ exactPrice = '0.02' }: { exactPrice?: string | null } = {}): Promise<Shop> {
  const calls: Call[] = []
  let status = 200
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (text: string) => {
      body += text
    })
    request.on('end', () => {
      calls.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body })
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ call: calls.length }))
    })
  })
  const upstream = await listen(server)
  const name = `mpp-${++shops}`
  const payee = privateKeyToAddress(generatePrivateKey())
  const create = async <T>(key: string, path: string, json: unknown): Promise<T> => {
    const made = await manage<T>(stack, key, `POST /${path}`, json)
    expect(made, JSON.stringify(made.body)).toMatchObject({ status: 201 })
    return made.body
  }
  const { id: merchantId } = await create<{ id: string }>(stack.operatorApiKey, 'merchants', { name, payee })
  const { key: apiKey } = await create<{ key: string }>(stack.operatorApiKey, 'api-keys', { merchantId, name })
  const service = { name, pathPrefix: `/${name}`, upstream, price: '0.01', ...(exactPrice && { exactPrice }) }
  await create(apiKey, 'services', service)
  const url = `${stack.gateway.url}/${name}`
  return {
    ...{ name, url, payee, apiKey, calls },
    answer: (next) => {
      status = next
    },
  }
}

async function listen(server: Server): Promise<string> {
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

/** Of another gateway for the same clients: one address, one relayer. */
const gatewayEnv = () => ({ RELAYER_KEY: devAccounts.relayer.privateKey, PUBLIC_URL: stack.gateway.url })

let minting = Promise.resolve()

async function newPayer(amountAtomic = 1_000_000n): Promise<PrivateKeyAccount> {
  const account = privateKeyToAccount(generatePrivateKey())
  // One after the other: they have one sender.
  const token = stack.contracts.testUsdc
  minting = minting.then(() => mintTestUsdc(stack.clients, { token, to: account.address, amountAtomic }))
  await minting
  return account
}

const domain = { name: 'USD Coin', version: '2' }

/** What a stock client is made of: one method, one account. */
function clientOf(account: PrivateKeyAccount) {
  return Mppx.create({ methods: [evm.charge({ account, authorization: domain })], polyfill: false })
}

const balanceOf = (account: Address) =>
  stack.clients.publicClient.readContract({
    address: stack.contracts.testUsdc,
    abi: testUsdcAbi,
    functionName: 'balanceOf',
    args: [account],
  })

async function challengeOf(url: string, init: RequestInit = {}): Promise<Challenge.Challenge> {
  const response = await fetch(url, init)
  await response.body?.cancel()
  return Challenge.fromResponse(response)
}

/** A credential as a stock client makes it, to be sent as one likes. */
async function stockCredential(account: PrivateKeyAccount, url: string, init: RequestInit = {}): Promise<string> {
  const response = await fetch(url, init)
  await response.body?.cancel()
  return clientOf(account).createCredential(response)
}

async function send(url: string, credential: string, init: RequestInit & { headers?: Record<string, string> } = {}) {
  const response = await fetch(url, { ...init, headers: { authorization: credential, ...init.headers } })
  const text = await response.text()
  const receipt = response.headers.get('payment-receipt')
  return {
    status: response.status,
    body: text.startsWith('{') ? JSON.parse(text) : text,
    challenge: response.headers.get('www-authenticate') ?? undefined,
    receipt: receipt === null ? undefined : Receipt.deserialize(receipt),
  }
}

async function statesOf(nonce: string): Promise<string[]> {
  const rows = await login.query<{ state: string }>(
    `select to_state as state from x402_payment_transition t join x402_payment p on p.id = t.payment_id
     where p.nonce = $1 order by t.id`,
    [nonce],
  )
  return rows.map(({ state }) => state)
}

describe('a stock mppx client pays', () => {
  test('and has the answer with a receipt of the transfer, which is in the chain by then', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const response = await clientOf(payer).fetch(`${shop.url}/x?y=1`)
    expect(response.status).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(price)
    const receipt = Receipt.fromResponse(response)
    expect(receipt).toMatchObject({ method: 'evm', status: 'success', chainId })
    const transaction = await stack.clients.publicClient.getTransactionReceipt({ hash: receipt.reference as Hex })
    expect(transaction).toMatchObject({ status: 'success', from: devAccounts.relayer.address.toLowerCase() })
    expect(response.headers.get('payment-response')).not.toBeNull()
    const found = await manage(stack, shop.apiKey, `GET /receipts/${receipt.reference}`)
    const settlement = { state: 'settled', last: { txHash: receipt.reference } }
    expect(found).toMatchObject({ status: 200, body: { receipts: [{ amountAtomic: `${price}`, settlement }] } })
    expect(shop.calls.map(({ url }) => url)).toEqual(['/x?y=1'])
    expect(shop.calls[0]?.headers).not.toHaveProperty('authorization')
  })

  test('for a call with a body, which its challenge is bound to', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const init = { method: 'POST', body: '{"city":"paris"}', headers: { 'content-type': 'application/json' } }
    expect((await clientOf(payer).fetch(`${shop.url}/x`, init)).status).toBe(200)
    expect(shop.calls.map(({ body }) => body)).toEqual([init.body])

    const credential = await stockCredential(payer, `${shop.url}/x`, init)
    const other = await send(`${shop.url}/x`, credential, { method: 'POST', body: '{"city":"oslo"}' })
    expect(other).toMatchObject({
      status: 402,
      body: { code: 'challenge.invalid', type: `${problems}/invalid-challenge` },
    })
    expect(await send(`${shop.url}/x`, credential, init)).toMatchObject({ status: 200, body: { call: 2 } })
  })

  test('beside the Authorization that the service itself asks for, and the service sees it', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const headers = { authorization: 'Bearer of-the-service' }
    const response = await clientOf(payer).fetch(`${shop.url}/x`, { headers })
    expect(response.status).toBe(200)
    expect(Receipt.fromResponse(response).status).toBe('success')
    expect(shop.calls.map(({ headers }) => headers.authorization)).toEqual([headers.authorization])
    expect(shop.calls[0]?.headers).not.toHaveProperty('payment-authorization')
  })

  test('twenty at once, each is served and debited once', { timeout }, async () => {
    const shop = await openShop()
    const payers = await Promise.all(Array.from({ length: 20 }, () => newPayer()))
    const answers = await Promise.all(payers.map((payer) => clientOf(payer).fetch(`${shop.url}/x`)))
    expect(answers.map(({ status }) => status)).toEqual(payers.map(() => 200))
    expect(await balanceOf(shop.payee)).toBe(20n * price)
    expect(shop.calls).toHaveLength(20)
  })

  test('many times at once from one account, each is another payment', { timeout }, async () => {
    const shop = await openShop()
    const client = clientOf(await newPayer())
    const answers = await Promise.all(Array.from({ length: 10 }, () => client.fetch(`${shop.url}/x`)))
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
    expect(await balanceOf(shop.payee)).toBe(10n * price)
  })
})

describe('the same 402', () => {
  test('is paid by a stock client of x402 as well', { timeout }, async () => {
    const shop = await openShop()
    const signer = await newPayer()
    const client = new x402Client().register(`eip155:${chainId}`, new ExactEvmScheme(signer))
    const pay = wrapFetchWithPayment(fetch, client.setSpendControls({ allowedAssets: true }))
    const response = await pay(`${shop.url}/x`)
    expect(response.status).toBe(200)
    expect(response.headers.get('payment-receipt')).toBeNull()
    expect(await balanceOf(shop.payee)).toBe(price)
  })

  test('asks for exactly the price, in the token, at the payee, and until a time that is enough', {
    timeout,
  }, async () => {
    const shop = await openShop()
    const challenge = await challengeOf(`${shop.url}/x`)
    expect(challenge).toMatchObject({
      realm: new URL(stack.gateway.url).host,
      method: 'evm',
      intent: 'charge',
      description: shop.name,
      request: {
        amount: '20000',
        currency: stack.contracts.testUsdc,
        recipient: shop.payee,
        methodDetails: { chainId, credentialTypes: ['authorization'] },
      },
    })
    expect(Date.parse(challenge.expires ?? '')).toBeGreaterThan(Date.now() + 30_000)
    expect((await challengeOf(`${shop.url}/x`)).id).not.toBe(challenge.id)
  })

  test('carries no challenge where the merchant takes no single payments', { timeout }, async () => {
    const shop = await openShop({ exactPrice: null })
    const response = await fetch(`${shop.url}/x`)
    expect(response.status).toBe(402)
    expect(response.headers.get('www-authenticate')).toBeNull()
    const credential = await stockCredential(await newPayer(), `${(await openShop()).url}/x`)
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 400, body: { code: 'method.unsupported' } })
  })

  test('tells a client that speaks MPP its own type of problem, and every other ours', { timeout }, async () => {
    const shop = await openShop()
    const problemOf = async (headers: Record<string, string>) => (await fetch(`${shop.url}/x`, { headers })).json()
    expect(await problemOf({})).toMatchObject({
      code: 'payment.required',
      type: expect.stringContaining('#payment-required'),
    })
    expect(await problemOf({ 'accept-payment': 'evm/charge' })).toMatchObject({
      code: 'payment.required',
      type: `${problems}/payment-required`,
      challengeId: expect.any(String),
    })
  })

  test('is read by pages of any origin, challenge and receipt included', { timeout }, async () => {
    const shop = await openShop()
    const origin = 'https://page.example'
    const asked = await fetch(`${shop.url}/x`, { headers: { origin } })
    expect(asked.headers.get('www-authenticate')).toMatch(/^Payment /)
    expect(asked.headers.get('access-control-expose-headers')).toBe('*')
    const before = await fetch(`${shop.url}/x`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' },
    })
    // A star does not stand for this one.
    expect(before.headers.get('access-control-allow-headers')).toContain('authorization')
    const credential = await stockCredential(await newPayer(), `${shop.url}/x`)
    const paid = await fetch(`${shop.url}/x`, { headers: { origin, authorization: credential } })
    expect(paid.status).toBe(200)
    expect(paid.headers.get('access-control-expose-headers')).toBe('*')
    expect(paid.headers.get('payment-receipt')).not.toBeNull()
  })
})

describe('/openapi.json', () => {
  type Offer = { intent: string; method: string; scheme?: string; amount: string | null; currency: string }
  type Document = { paths: Record<string, { get: { 'x-payment-info': { offers: Offer[] } } }> }

  test('names the price of what is paid for, in a form that mppx takes', { timeout }, async () => {
    const shop = await openShop()
    const read = async () => (await (await fetch(`${stack.gateway.url}/openapi.json`)).json()) as Document
    // The gateway reads its services once a second.
    await expect
      .poll(async () => Object.keys((await read()).paths), { timeout: 120_000 })
      .toContain(`/${shop.name}/{path}`)
    const document = await read()
    expect(validate(document)).toEqual([])
    const terms = { currency: stack.contracts.testUsdc, recipient: shop.payee }
    expect(document.paths[`/${shop.name}/{path}`]?.get['x-payment-info'].offers).toMatchObject([
      { intent: 'charge', method: 'evm', amount: '20000', ...terms },
      { intent: 'charge', method: 'x402', scheme: 'exact', amount: '20000', ...terms },
      { intent: 'session', method: 'x402', scheme: 'session', amount: '10000', ...terms },
    ])
    // What is advised is what is asked for.
    expect((await challengeOf(`${shop.url}/x`)).request).toMatchObject({ amount: '20000', ...terms })
    expect((await manage(stack, shop.apiKey, 'POST /services', ownPath)).status).toBe(400)
  })

  const ownPath = { name: 'mine', pathPrefix: '/openapi.json', upstream: 'http://127.0.0.1:9', price: '0.01' }
})

describe('one credential', () => {
  test('sent 200 times at once to two gateways gives one served call and one debit', { timeout }, async () => {
    const shop = await openShop()
    const other = await startGateway(stack, gatewayEnv(), { label: 'gateway-mpp' })
    closers.push(other.stop)
    const urls = [`${shop.url}/x`, `${other.url}/${shop.name}/x`]
    const credential = await stockCredential(await newPayer(), `${shop.url}/x`)
    // Until the other offers it, it is busy.
    await expect
      .poll(async () => (await fetch(urls[1] ?? '')).headers.get('www-authenticate'), { timeout: 120_000 })
      .not.toBeNull()
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => send(urls[index % 2] ?? '', credential)),
    )
    const kinds = answers.map(({ status, body }) => (status === 200 ? '200' : `${status} ${body.code}`))
    expect(kinds.filter((kind) => kind === '200')).toHaveLength(1)
    const allowed = ['200', '409 request.in_progress', '409 request.answered', '503 exact.busy']
    expect(kinds.filter((kind) => !allowed.includes(kind))).toEqual([])
    expect(shop.calls).toHaveLength(1)
    expect(await balanceOf(shop.payee)).toBe(price)
    const { challenge } = Credential.deserialize(credential)
    expect(await statesOf(challengeHash(challenge))).toEqual(['verified', 'settling', 'settled'])
    for (const url of urls) {
      const answered = { status: 409, receipt: undefined, body: { code: 'request.answered' } }
      // The other gateway hears of it from Postgres.
      await expect.poll(() => send(url, credential), { timeout: 120_000 }).toMatchObject(answered)
    }
  })

  test("made for one gateway's challenge pays at another", { timeout }, async () => {
    const shop = await openShop()
    const other = await startGateway(stack, gatewayEnv(), { label: 'gateway-mpp-2' })
    closers.push(other.stop)
    const url = `${other.url}/${shop.name}/x`
    await expect
      .poll(async () => (await fetch(url)).headers.get('www-authenticate'), { timeout: 120_000 })
      .not.toBeNull()
    const credential = await stockCredential(await newPayer(), url)
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 200, receipt: { status: 'success' } })
    expect(await balanceOf(shop.payee)).toBe(price)
  })

  test('whose call fails upstream costs nothing, and pays for the next', { timeout }, async () => {
    const shop = await openShop()
    const credential = await stockCredential(await newPayer(), `${shop.url}/x`)
    for (const status of [500, 404]) {
      shop.answer(status)
      expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status, receipt: undefined })
    }
    expect(await balanceOf(shop.payee)).toBe(0n)
    shop.answer(200)
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 200, receipt: { status: 'success' } })
    expect(await balanceOf(shop.payee)).toBe(price)
  })

  test('for an answer that is a redirection is paid, and brings no receipt of MPP', { timeout }, async () => {
    const shop = await openShop()
    shop.answer(304)
    const credential = await stockCredential(await newPayer(), `${shop.url}/x`)
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 304, receipt: undefined })
    expect(await balanceOf(shop.payee)).toBe(price)
  })

  test('beside another payment is refused, and neither is taken', { timeout }, async () => {
    const shop = await openShop()
    const credential = await stockCredential(await newPayer(), `${shop.url}/x`)
    const refused = { status: 400, body: { code: 'payment.ambiguous', type: `${problems}/bad-request` } }
    for (const headers of [{ 'payment-signature': 'e30=' }, { 'payment-authorization': credential }]) {
      expect(await send(`${shop.url}/x`, credential, { headers })).toMatchObject(refused)
    }
    expect(shop.calls).toEqual([])
    expect((await send(`${shop.url}/x`, credential)).status).toBe(200)
  })
})

describe('a bad credential', () => {
  type Payload = Record<'from' | 'to' | 'value' | 'validAfter' | 'validBefore' | 'nonce' | 'signature' | 'type', string>
  type Wire = { challenge: Record<string, string>; payload: Payload; source?: string }

  const read = (credential: string): Wire =>
    JSON.parse(Buffer.from(credential.slice('Payment '.length), 'base64url').toString())
  const write = (wire: unknown) => `Payment ${Buffer.from(JSON.stringify(wire)).toString('base64url')}`
  const stranger = privateKeyToAccount(generatePrivateKey()).address

  /** Changes the request that a challenge asks for, as somebody might who pays less for it. */
  const asking = (change: Record<string, unknown>) => (wire: Wire) => {
    const request = PaymentRequest.deserialize(wire.challenge.request ?? '')
    wire.challenge.request = PaymentRequest.serialize({ ...request, ...change })
  }
  const paying = (change: Partial<Payload>) => (wire: Wire) => void Object.assign(wire.payload, change)
  const echoing = (change: Record<string, string>) => (wire: Wire) => void Object.assign(wire.challenge, change)
  const inSeconds = (seconds: number) => `${Math.floor(Date.now() / 1_000) + seconds}`

  const cases: [string, (wire: Wire) => void, string, string][] = [
    ['of a lower price', asking({ amount: '1' }), 'challenge.invalid', 'invalid-challenge'],
    ['for another recipient', asking({ recipient: stranger }), 'challenge.invalid', 'invalid-challenge'],
    ['for another token', asking({ currency: stranger }), 'challenge.invalid', 'invalid-challenge'],
    ['for another chain', asking({ methodDetails: { chainId: 1 } }), 'challenge.invalid', 'invalid-challenge'],
    ['of a forged id', echoing({ id: 'A'.repeat(43) }), 'challenge.invalid', 'invalid-challenge'],
    ['of another realm', echoing({ realm: 'other.example' }), 'challenge.invalid', 'invalid-challenge'],
    ['with a later end', echoing({ expires: '2999-01-01T00:00:00.000Z' }), 'challenge.invalid', 'invalid-challenge'],
    ['with other data of ours', echoing({ opaque: 'e30' }), 'challenge.invalid', 'invalid-challenge'],
    ['bound to a body', echoing({ digest: 'sha-256=:AAAA:' }), 'challenge.invalid', 'invalid-challenge'],
    ['for another field', echoing({ header: 'Payment-Authorization' }), 'challenge.invalid', 'invalid-challenge'],
    ['that signed another payee', paying({ to: stranger }), 'payment.wrong_payee', 'verification-failed'],
    ['that signed less', paying({ value: '19999' }), 'exact.wrong_amount', 'payment-insufficient'],
    ['that signed more', paying({ value: '20001' }), 'exact.wrong_amount', 'verification-failed'],
    ['that signed for too short', paying({ validBefore: inSeconds(-1) }), 'exact.expired', 'payment-expired'],
    ['that is not valid yet', paying({ validAfter: inSeconds(86_400) }), 'exact.not_yet_valid', 'verification-failed'],
    ['of another nonce', paying({ nonce: `0x${'ab'.repeat(32)}` }), 'challenge.not_signed', 'verification-failed'],
    [
      'with a forged signature',
      paying({ signature: `0x${'11'.repeat(64)}1b` }),
      'exact.signature_invalid',
      'verification-failed',
    ],
    [
      'that names another payer',
      (wire) => void Object.assign(wire, { source: toSource({ address: stranger, chainId }) }),
      'payment.wrong_payer',
      'verification-failed',
    ],
    [
      'that names another chain',
      (wire) => void Object.assign(wire, { source: wire.source?.replace(`${chainId}`, '1') }),
      'payment.wrong_network',
      'verification-failed',
    ],
    ['of a payload that is not offered', paying({ type: 'hash' }), 'credential.malformed', 'invalid-payload'],
  ]
  test.each(cases)(
    '%s is refused with a fresh challenge, and nothing moves',
    { timeout },
    async (_, spoil, code, type) => {
      const shop = await openShop()
      const wire = read(await stockCredential(await newPayer(), `${shop.url}/x`))
      spoil(wire)
      const answer = await send(`${shop.url}/x`, write(wire))
      expect(answer).toMatchObject({
        status: 402,
        body: { code, type: `${problems}/${type}`, challengeId: expect.any(String) },
      })
      expect(Challenge.deserialize(answer.challenge ?? '').id).toBe(answer.body.challengeId)
      expect(shop.calls).toEqual([])
      expect(await balanceOf(shop.payee)).toBe(0n)
    },
  )

  test('of another method or intent is refused with 400', { timeout }, async () => {
    const shop = await openShop()
    const wire = read(await stockCredential(await newPayer(), `${shop.url}/x`))
    for (const change of [{ method: 'tempo' }, { intent: 'session' }]) {
      const answer = await send(`${shop.url}/x`, write({ ...wire, challenge: { ...wire.challenge, ...change } }))
      expect(answer).toMatchObject({
        status: 400,
        body: { code: 'method.unsupported', type: `${problems}/method-unsupported` },
      })
    }
  })

  test('that cannot be read is refused with a fresh challenge', { timeout }, async () => {
    const shop = await openShop()
    for (const credential of ['Payment', 'Payment e', 'Payment !!', 'payment e30', `Payment ${'A'.repeat(9_000)}`]) {
      const answer = await send(`${shop.url}/x`, credential)
      const body = { code: 'credential.malformed', type: `${problems}/malformed-credential` }
      expect(answer, credential.slice(0, 20)).toMatchObject({ status: 402, body, challenge: expect.any(String) })
    }
  })

  test("for a challenge of another service, even of the same merchant's, is refused", { timeout }, async () => {
    const shop = await openShop()
    const second = {
      name: `${shop.name}-b`,
      pathPrefix: `/${shop.name}-b`,
      upstream: 'http://127.0.0.1:9',
      price: '0.01',
    }
    const made = await manage(stack, shop.apiKey, 'POST /services', { ...second, exactPrice: '0.02' })
    expect(made.status).toBe(201)
    const credential = await stockCredential(await newPayer(), `${shop.url}/x`)
    expect(await send(`${shop.url}-b/x`, credential)).toMatchObject({
      status: 402,
      body: { code: 'challenge.invalid' },
    })
    expect((await send(`${shop.url}/x`, credential)).status).toBe(200)
  })

  test('for a price that has changed since is refused, and the new one is paid', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const credential = await stockCredential(payer, `${shop.url}/x`)
    const { body } = await manage<{ services: { id: string }[] }>(stack, shop.apiKey, 'GET /services')
    const change = await fetch(`${stack.gateway.url}/api/services/${body.services[0]?.id}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${shop.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ exactPrice: '0.03' }),
    })
    expect(change.status).toBe(200)
    await expect
      .poll(async () => (await challengeOf(`${shop.url}/x`)).request.amount, { timeout: 120_000 })
      .toBe('30000')
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 402, body: { code: 'price.changed' } })
    expect((await clientOf(payer).fetch(`${shop.url}/x`)).status).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(30_000n)
  })

  test('without money is refused as insufficient', { timeout }, async () => {
    const shop = await openShop()
    const credential = await stockCredential(await newPayer(price - 1n), `${shop.url}/x`)
    const body = { code: 'exact.balance_too_low', type: `${problems}/payment-insufficient` }
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 402, body })
  })

  test('for a challenge of another deployment is refused', { timeout }, async () => {
    const shop = await openShop()
    const env = { ...gatewayEnv(), MPP_SECRETS: 'another secret of thirty-two characters' }
    const other: Service = await startGateway(stack, env, { label: 'gateway-elsewhere' })
    closers.push(other.stop)
    const url = `${other.url}/${shop.name}/x`
    await expect
      .poll(async () => (await fetch(url)).headers.get('www-authenticate'), { timeout: 120_000 })
      .not.toBeNull()
    const credential = await stockCredential(await newPayer(), url)
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 402, body: { code: 'challenge.invalid' } })
    expect((await send(url, credential)).status).toBe(200)
  })
})

describe('a gateway that dies', () => {
  const points = [
    ['when the authorisation is taken', 'exact.taken'],
    ['when the call was served', 'exact.served'],
    ['when the transfer is recorded and not sent', 'exact.recorded'],
    ['when the transfer is sent', 'exact.sent'],
    ['when it is settled and not answered', 'exact.settled'],
  ]
  test.each(points)('%s: the same credential is answered, and debited once', { timeout }, async (_, point) => {
    const shop = await openShop()
    const dying = await startGateway(stack, { ...gatewayEnv(), CRASH_AT: point }, { label: `dying-mpp-${point}` })
    closers.push(dying.stop)
    const url = `${dying.url}/${shop.name}/x`
    await expect
      .poll(async () => (await fetch(url)).headers.get('www-authenticate'), { timeout: 120_000 })
      .not.toBeNull()
    const credential = await stockCredential(await newPayer(), `${shop.url}/x`)
    await expect(send(url, credential)).rejects.toThrow()
    await dying.process.exited

    // Another gateway answers once the first is known to be gone.
    const soon = { timeout: 180_000, interval: 500 }
    await expect.poll(async () => (await send(`${shop.url}/x`, credential)).status, soon).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(price)
    expect(await send(`${shop.url}/x`, credential)).toMatchObject({ status: 409, body: { code: 'request.answered' } })
    expect(await balanceOf(shop.payee)).toBe(price)
    expect(shop.calls.length).toBeLessThanOrEqual(2)
  })
})
