import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import {
  createChainClients,
  devAccounts,
  mintTestUsdc,
  type Service,
  type Stack,
  startStack,
} from '@protocolbanks/stream-dev'
import { encodeHeader, type PaymentRequired } from '@protocolbanks/stream-protocol'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client, x402HTTPClient } from '@x402/fetch'
import { type Address, bytesToHex, type Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { manage } from './testing/manage.ts'
import { createDice, mutateHeader } from './testing/mutateHeader.ts'
import { createOwner } from './testing/sponsoredChain.ts'
import { startGateway } from './testing/startGateway.ts'

// x402's own packages, as they are published, against the gateway as a process on a real chain.

const timeout = 480_000
const network = 'eip155:31337'
const price = 20_000n

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

type Shop = {
  name: string
  url: string
  payee: Address
  apiKey: string
  calls: string[]
  answer: (status: number) => void
}

let shops = 0

/** A merchant who takes exact for 0.02, and whose API counts its calls. */
async function openShop(): Promise<Shop> {
  const calls: string[] = []
  let status = 200
  const server = createServer((request, response) => {
    calls.push(request.url ?? '')
    response.statusCode = status
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ call: calls.length }))
  })
  const upstream = await listen(server)
  const name = `exact-${++shops}`
  const payee = privateKeyToAddress(generatePrivateKey())
  const create = async <T>(key: string, path: string, json: unknown): Promise<T> => {
    const made = await manage<T>(stack, key, `POST /${path}`, json)
    expect(made, JSON.stringify(made.body)).toMatchObject({ status: 201 })
    return made.body
  }
  const { id: merchantId } = await create<{ id: string }>(stack.operatorApiKey, 'merchants', { name, payee })
  const { key: apiKey } = await create<{ key: string }>(stack.operatorApiKey, 'api-keys', { merchantId, name })
  const service = { name, pathPrefix: `/${name}`, upstream, price: '0.01', exactPrice: '0.02' }
  expect(await create(apiKey, 'services', service)).toMatchObject({ exactPrice: '0.02' })
  return {
    name,
    url: `${stack.gateway.url}/${name}`,
    payee,
    apiKey,
    calls,
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

type Signer = ConstructorParameters<typeof ExactEvmScheme>[0]

/** Of another gateway for the same clients: one address, one relayer. */
const gatewayEnv = () => ({ RELAYER_KEY: devAccounts.relayer.privateKey, PUBLIC_URL: stack.gateway.url })

let minting = Promise.resolve()

async function fund(to: Address, amountAtomic = 1_000_000n): Promise<void> {
  // One after the other: they have one sender.
  minting = minting.then(() => mintTestUsdc(stack.clients, { token: stack.contracts.testUsdc, to, amountAtomic }))
  await minting
}

async function newPayer(amountAtomic?: bigint) {
  const account = privateKeyToAccount(generatePrivateKey())
  await fund(account.address, amountAtomic)
  return account
}

function clientOf(signer: Signer): x402Client {
  return new x402Client().register(network, new ExactEvmScheme(signer)).setSpendControls({ allowedAssets: true })
}

const stockFetch = (signer: Signer) => wrapFetchWithPayment(fetch, clientOf(signer))

const balanceOf = (account: Address) =>
  stack.clients.publicClient.readContract({
    address: stack.contracts.testUsdc,
    abi: testUsdcAbi,
    functionName: 'balanceOf',
    args: [account],
  })

async function offerOf(url: string): Promise<PaymentRequired> {
  const response = await fetch(url)
  expect(response.status).toBe(402)
  return JSON.parse(Buffer.from(response.headers.get('payment-required') ?? '', 'base64').toString())
}

/** A payment as a stock client makes it, to be sent as one likes. */
async function stockPayment(signer: Signer, url: string): Promise<Record<string, unknown>> {
  const client = clientOf(signer)
  const response = await fetch(url)
  const required = new x402HTTPClient(client).getPaymentRequiredResponse((name) => response.headers.get(name))
  return { ...(await client.createPaymentPayload(required)) }
}

async function send(url: string, payment: unknown, init: RequestInit = {}) {
  const header = typeof payment === 'string' ? payment : encodeHeader(payment)
  const response = await fetch(url, { ...init, headers: { 'payment-signature': header } })
  const text = await response.text()
  const body = text.startsWith('{') ? JSON.parse(text) : text
  const receipt = response.headers.get('payment-response')
  return { status: response.status, body, receipt: receipt === null ? undefined : decodePaymentResponseHeader(receipt) }
}

async function statesOf(nonce: string): Promise<string[]> {
  const rows = await login.query<{ state: string }>(
    `select to_state as state from x402_payment_transition t join x402_payment p on p.id = t.payment_id
     where p.nonce = $1 order by t.id`,
    [nonce],
  )
  return rows.map(({ state }) => state)
}

const nonceOf = (payment: Record<string, unknown>) =>
  (payment.payload as { authorization: { nonce: Hex } }).authorization.nonce

function withIdentifier(payment: Record<string, unknown>, id: string): Record<string, unknown> {
  return { ...payment, extensions: { 'payment-identifier': { info: { required: false, id } } } }
}

describe('a 402', () => {
  test('offers session first and exact after it, with the domain of the token', { timeout }, async () => {
    const shop = await openShop()
    const { accepts, extensions } = await offerOf(`${shop.url}/x`)
    expect(accepts.map(({ scheme, amount }) => [scheme, amount])).toEqual([
      ['session', '10000'],
      ['exact', '20000'],
    ])
    expect(accepts[1]).toMatchObject({
      network,
      asset: stack.contracts.testUsdc,
      payTo: shop.payee,
      extra: { name: 'USD Coin', version: '2' },
    })
    expect(extensions).toMatchObject({ 'payment-identifier': { info: { required: false }, schema: {} } })
  })

  test('offers no exact where the merchant does not take it', { timeout }, async () => {
    const shop = await openShop()
    const { body } = await manage<{ services: { id: string }[] }>(stack, shop.apiKey, 'GET /services')
    const change = (json: unknown) =>
      fetch(`${stack.gateway.url}/api/services/${body.services[0]?.id}`, {
        method: 'PATCH',
        headers: { authorization: `Bearer ${shop.apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify(json),
      })
    const payer = await newPayer()
    const payment = await stockPayment(payer, `${shop.url}/x`)
    expect((await change({ exactPrice: '0.0001' })).status).toBe(400)
    expect((await change({ exactPrice: null })).status).toBe(200)
    await expect
      .poll(async () => (await offerOf(`${shop.url}/x`)).accepts.map(({ scheme }) => scheme), { timeout: 120_000 })
      .toEqual(['session'])
    expect(await send(`${shop.url}/x`, payment)).toMatchObject({ status: 402, body: { code: 'scheme.unsupported' } })
    expect(shop.calls).toEqual([])
  })
})

describe('a stock x402 client pays', () => {
  test('from an EOA: the money is there when the answer is', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const response = await stockFetch(payer)(`${shop.url}/x`)
    expect(response.status).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(price)
    const receipt = decodePaymentResponseHeader(response.headers.get('payment-response') ?? '')
    expect(receipt).toMatchObject({ success: true, network, payer: payer.address, amount: '20000' })
    const transaction = await stack.clients.publicClient.getTransactionReceipt({ hash: receipt.transaction as Hex })
    expect(transaction).toMatchObject({ status: 'success' })
    expect(transaction.from).toBe(devAccounts.relayer.address.toLowerCase())
    expect(shop.calls).toEqual(['/x'])
  })

  test('from a smart account, by ERC-6492 before it is deployed and by ERC-1271 after', { timeout }, async () => {
    const shop = await openShop()
    const chain = { ...stack, anvil: stack.chain, chain: foundry, minting: Promise.resolve() }
    const { account } = await createOwner(chain)
    const code = () => stack.clients.publicClient.getCode({ address: account.address })
    const signer: Signer = {
      address: account.address,
      signTypedData: (message) => account.signTypedData(message as Parameters<typeof account.signTypedData>[0]),
    }
    expect(await code()).toBeUndefined()
    expect((await stockFetch(signer)(`${shop.url}/x`)).status).toBe(200)
    expect(await code()).toBeDefined()
    expect((await stockFetch(signer)(`${shop.url}/x`)).status).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(2n * price)
  })

  test('many at once, each is served and debited once', { timeout }, async () => {
    const shop = await openShop()
    const payers = await Promise.all(Array.from({ length: 20 }, () => newPayer()))
    const answers = await Promise.all(payers.map((payer) => stockFetch(payer)(`${shop.url}/x`)))
    expect(answers.map(({ status }) => status)).toEqual(payers.map(() => 200))
    expect(await balanceOf(shop.payee)).toBe(20n * price)
    expect(shop.calls).toHaveLength(20)
  })
})

describe('one authorisation', () => {
  test('used a thousand times at once at two gateways gives one served call and one debit', { timeout }, async () => {
    const shop = await openShop()
    const other = await startGateway(stack, gatewayEnv(), { label: 'gateway-b' })
    closers.push(other.stop)
    const payment = await stockPayment(await newPayer(), `${shop.url}/x`)
    const urls = [`${shop.url}/x`, `${other.url}/${shop.name}/x`]
    // Until the other offers it, it would refuse the scheme.
    await expect.poll(async () => (await offerOf(urls[1] ?? '')).accepts.length, { timeout: 120_000 }).toBe(2)
    const header = encodeHeader(payment)
    const results = new Map<string, number>()
    let left = 1_000
    const work = async () => {
      while (left-- > 0) {
        const { status, body } = await send(urls[left % 2] ?? '', header)
        const kind = status === 200 ? '200' : `${status} ${body.code}`
        results.set(kind, (results.get(kind) ?? 0) + 1)
      }
    }
    await Promise.all(Array.from({ length: 100 }, work))
    expect(results.get('200')).toBe(1)
    const allowed = ['200', '409 request.in_progress', '409 request.answered', '503 exact.busy']
    expect([...results.keys()].filter((kind) => !allowed.includes(kind))).toEqual([])
    expect(shop.calls).toHaveLength(1)
    expect(await balanceOf(shop.payee)).toBe(price)
    expect(await statesOf(nonceOf(payment))).toEqual(['verified', 'settling', 'settled'])
  })

  test('whose call fails upstream costs nothing, and pays for the next', { timeout }, async () => {
    const shop = await openShop()
    const payment = await stockPayment(await newPayer(), `${shop.url}/x`)
    for (const status of [500, 404]) {
      shop.answer(status)
      const failed = await send(`${shop.url}/x`, payment)
      expect(failed).toMatchObject({ status, receipt: undefined })
    }
    expect(await balanceOf(shop.payee)).toBe(0n)
    shop.answer(200)
    expect((await send(`${shop.url}/x`, payment)).status).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(price)
    expect(await statesOf(nonceOf(payment))).toEqual([
      ...['verified', 'released', 'verified', 'released', 'verified', 'settling', 'settled'],
    ])
  })

  test('that cannot be settled after the call gives no answer', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const url = await slowUpstream(shop)
    const payment = await stockPayment(payer, `${shop.url}/x`)
    const answer = send(`${shop.url}/x`, payment)
    await url.called
    // The payer spends the money elsewhere while the call is served.
    const gas = await stack.clients.walletClient.sendTransaction({ to: payer.address, value: 10n ** 18n })
    await stack.clients.publicClient.waitForTransactionReceipt({ hash: gas })
    const moved = await createChainClients(stack.chain.url, payer).walletClient.writeContract({
      address: stack.contracts.testUsdc,
      abi: testUsdcAbi,
      functionName: 'transfer',
      args: [devAccounts.operator.address, 1_000_000n],
    })
    await stack.clients.publicClient.waitForTransactionReceipt({ hash: moved })
    url.go()
    expect(await answer).toMatchObject({
      status: 402,
      body: { code: 'exact.settlement_failed', detail: expect.stringContaining('reverted') },
      receipt: { success: false, errorReason: 'invalid_exact_evm_transaction_failed' },
    })
    expect(await balanceOf(shop.payee)).toBe(0n)
    // The authorisation is still good: it is settled once there is money.
    await fund(payer.address)
    expect((await send(`${shop.url}/x`, payment)).status).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(price)
  })

  test('that somebody else sends while the call is served pays for it', { timeout }, async () => {
    const shop = await openShop()
    const url = await slowUpstream(shop)
    const payment = await stockPayment(await newPayer(), `${shop.url}/x`)
    const answer = send(`${shop.url}/x`, payment)
    await url.called
    const { authorization: a, signature } = payment.payload as {
      authorization: Record<'from' | 'to' | 'nonce', Hex> & Record<'value' | 'validAfter' | 'validBefore', string>
      signature: Hex
    }
    const sent = await stack.clients.walletClient.writeContract({
      address: stack.contracts.testUsdc,
      abi: testUsdcAbi,
      functionName: 'transferWithAuthorization',
      args: [a.from, a.to, BigInt(a.value), BigInt(a.validAfter), BigInt(a.validBefore), a.nonce, signature],
    })
    await stack.clients.publicClient.waitForTransactionReceipt({ hash: sent })
    url.go()
    expect(await answer).toMatchObject({ status: 200, receipt: { success: true, transaction: sent } })
    expect(await balanceOf(shop.payee)).toBe(price)
  })

  /** The shop's API answers its next call only when it is told to. */
  async function slowUpstream(shop: Shop) {
    let go: () => void = () => {}
    let call: () => void = () => {}
    const gone = new Promise<void>((resolve) => {
      go = resolve
    })
    const called = new Promise<void>((resolve) => {
      call = resolve
    })
    const server = createServer((_, response) => {
      call()
      void gone.then(() => response.end('{}'))
    })
    const upstream = await listen(server)
    const { body } = await manage<{ services: { id: string }[] }>(stack, shop.apiKey, 'GET /services')
    await fetch(`${stack.gateway.url}/api/services/${body.services[0]?.id}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${shop.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ upstream }),
    })
    return { called, go }
  }
})

describe('a receipt', () => {
  type Found = { code?: string; receipts: { receipt: Receipt; settlement: unknown; requestId: string }[] }
  type Receipt = { transaction: string; extra: Record<string, unknown> }
  const find = (shop: Shop, name: unknown) => manage<Found>(stack, shop.apiKey, `GET /receipts/${name}`)

  test('is found again by the request id it says, signed anew, and by no other merchant', { timeout }, async () => {
    const [shop, other] = [await openShop(), await openShop()]
    const payer = await newPayer()
    const url = `${shop.url}/x`
    const name = `id_${bytesToHex(randomBytes(16)).slice(2)}`
    const [named, unnamed] = [
      await send(url, withIdentifier(await stockPayment(payer, url), name)),
      await send(url, await stockPayment(payer, url)),
    ]
    expect(named.receipt).toMatchObject({ extra: { requestId: name } })
    for (const { receipt } of [named, unnamed]) {
      const { transaction, extra = {} } = receipt ?? {}
      for (const by of [extra.requestId, extra.paymentId, transaction]) {
        const found = await find(shop, by)
        // The same payment: only the signature is another.
        const expected = { ...receipt, extra: { ...extra, signature: expect.any(String) } }
        expect(found).toMatchObject({ status: 200, body: { receipts: [{ receipt: expected }] } })
        expect(found.body.receipts).toMatchObject([
          { scheme: 'exact', settlement: { state: 'settled', last: { txHash: transaction } } },
        ])
        expect(await find(other, by)).toMatchObject({ status: 404, body: { code: 'receipt.unknown' } })
      }
    }
    const list = await manage<Found>(stack, shop.apiKey, 'GET /receipts?scheme=exact')
    expect(list.body.receipts.map(({ requestId }) => requestId)).toEqual([unnamed.receipt?.extra?.requestId, name])
  })
})

describe('a payment identifier', () => {
  const newId = () => `id_${bytesToHex(randomBytes(16)).slice(2)}`

  test('gives a retry the same answer, with the same payment or another, and no second debit', {
    timeout,
  }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const id = newId()
    const url = `${shop.url}/x`
    const first = await send(url, withIdentifier(await stockPayment(payer, url), id))
    expect(first).toMatchObject({ status: 200, body: { call: 1 } })
    const again = await send(url, withIdentifier(await stockPayment(payer, url), id))
    // But for the receipt's signature, which is another each time.
    const extra = { ...first.receipt?.extra, signature: expect.any(String) }
    expect(again).toEqual({ ...first, receipt: { ...first.receipt, extra } })
    expect(shop.calls).toHaveLength(1)
    expect(await balanceOf(shop.payee)).toBe(price)
  })

  test('for another request is refused with 409, and no stranger gets the answer', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const id = newId()
    const url = `${shop.url}/x`
    const payment = withIdentifier(await stockPayment(payer, url), id)
    expect((await send(url, payment)).status).toBe(200)
    const conflict = { status: 409, body: { code: 'request.conflict' } }
    expect(await send(`${shop.url}/other`, payment)).toMatchObject(conflict)
    expect(await send(url, payment, { method: 'DELETE' })).toMatchObject(conflict)
    const stranger = await newPayer()
    expect(await send(url, withIdentifier(await stockPayment(stranger, url), id))).toMatchObject({ body: { call: 2 } })
    const forged = structuredClone(await stockPayment(stranger, url)) as {
      payload: { authorization: { from: string } }
    }
    forged.payload.authorization.from = payer.address
    expect(await send(url, withIdentifier(forged, id))).toMatchObject({ body: { code: 'exact.signature_invalid' } })
  })

  test('that is malformed is refused with 400', { timeout }, async () => {
    const shop = await openShop()
    const payment = await stockPayment(await newPayer(), `${shop.url}/x`)
    expect(await send(`${shop.url}/x`, withIdentifier(payment, 'short'))).toMatchObject({ status: 400 })
  })
})

describe('a bad payment', () => {
  type Payment = {
    accepted: Record<string, unknown>
    payload: { signature: string; authorization: Record<string, string> }
  }
  const now = () => Math.floor(Date.now() / 1_000)
  const cases: [string, (payment: Payment) => unknown, string][] = [
    ['for another chain', ({ accepted }) => Object.assign(accepted, { network: 'eip155:1' }), 'payment.wrong_network'],
    [
      'in another token',
      ({ accepted }) => Object.assign(accepted, { asset: devAccounts.owner.address }),
      'payment.wrong_token',
    ],
    [
      'to another payee',
      ({ accepted }) => Object.assign(accepted, { payTo: devAccounts.owner.address }),
      'payment.wrong_payee',
    ],
    ['of another price', ({ accepted }) => Object.assign(accepted, { amount: '1' }), 'price.changed'],
    [
      'that signed another payee',
      ({ payload }) => Object.assign(payload.authorization, { to: devAccounts.owner.address }),
      'payment.wrong_payee',
    ],
    [
      'that signed less',
      ({ payload }) => Object.assign(payload.authorization, { value: '19999' }),
      'exact.wrong_amount',
    ],
    [
      'that signed more',
      ({ payload }) => Object.assign(payload.authorization, { value: '20001' }),
      'exact.wrong_amount',
    ],
    [
      'that has ended',
      ({ payload }) => Object.assign(payload.authorization, { validBefore: `${now() - 1}` }),
      'exact.expired',
    ],
    [
      'that ends too soon',
      ({ payload }) => Object.assign(payload.authorization, { validBefore: `${now() + 3}` }),
      'exact.expired',
    ],
    [
      'that is not valid yet',
      ({ payload }) => Object.assign(payload.authorization, { validAfter: `${now() + 60}` }),
      'exact.not_yet_valid',
    ],
    [
      'of another nonce',
      ({ payload }) => Object.assign(payload.authorization, { nonce: `0x${'ab'.repeat(32)}` }),
      'exact.signature_invalid',
    ],
    [
      'with a forged signature',
      ({ payload }) => Object.assign(payload, { signature: `0x${'11'.repeat(64)}1b` }),
      'exact.signature_invalid',
    ],
    [
      'with half a signature',
      ({ payload }) => Object.assign(payload, { signature: payload.signature.slice(0, 66) }),
      'exact.signature_invalid',
    ],
  ]
  test.each(cases)('%s is refused, and nothing moves', { timeout }, async (_, spoil, code) => {
    const shop = await openShop()
    const payment = structuredClone(await stockPayment(await newPayer(), `${shop.url}/x`))
    spoil(payment as unknown as Payment)
    expect(await send(`${shop.url}/x`, payment)).toMatchObject({ status: 402, body: { code } })
    expect(shop.calls).toEqual([])
    expect(await balanceOf(shop.payee)).toBe(0n)
  })

  test('without money is refused', { timeout }, async () => {
    const shop = await openShop()
    const payment = await stockPayment(await newPayer(price - 1n), `${shop.url}/x`)
    expect(await send(`${shop.url}/x`, payment)).toMatchObject({ status: 402, body: { code: 'exact.balance_too_low' } })
  })

  test('of a payer whom the token blocks is refused', { timeout }, async () => {
    const shop = await openShop()
    const payer = await newPayer()
    const hash = await stack.clients.walletClient.writeContract({
      address: stack.contracts.testUsdc,
      abi: testUsdcAbi,
      functionName: 'setBlocked',
      args: [payer.address, true],
    })
    await stack.clients.publicClient.waitForTransactionReceipt({ hash })
    const payment = await stockPayment(payer, `${shop.url}/x`)
    expect(await send(`${shop.url}/x`, payment)).toMatchObject({
      status: 402,
      body: { code: 'exact.transfer_refused' },
    })
  })

  test('of an authorisation that was used elsewhere is refused', { timeout }, async () => {
    const [shop, other] = [await openShop(), await openShop()]
    const payment = await stockPayment(await newPayer(), `${shop.url}/x`)
    expect((await send(`${shop.url}/x`, payment)).status).toBe(200)
    expect(await send(`${shop.url}/x`, payment)).toMatchObject({
      status: 409,
      body: { code: 'request.answered' },
      receipt: { success: true },
    })
    expect(await send(`${other.url}/x`, payment)).toMatchObject({ status: 402, body: { code: 'payment.wrong_payee' } })
    expect(shop.calls).toHaveLength(1)
  })

  test('3,000 damaged ones give no 5xx and no call that is not paid', { timeout }, async () => {
    const shop = await openShop()
    const seed = Math.floor(Math.random() * 2 ** 32)
    const dice = createDice(seed)
    const payment = await stockPayment(await newPayer(), `${shop.url}/x`)
    expect((await send(`${shop.url}/x`, payment)).status).toBe(200)
    const bad: string[] = []
    let left = 3_000
    const work = async () => {
      while (left-- > 0) {
        const header = mutateHeader(payment, dice)
        const { status, body } = await send(`${shop.url}/x`, header)
        if (![400, 402, 409].includes(status)) bad.push(`${status} ${JSON.stringify(body).slice(0, 200)} for ${header}`)
      }
    }
    await Promise.all(Array.from({ length: 12 }, work))
    expect(bad.slice(0, 3), `seed ${seed}`).toEqual([])
    expect(shop.calls, `seed ${seed}`).toHaveLength(1)
    expect(await balanceOf(shop.payee)).toBe(price)
  })
})

describe('a gateway that dies', () => {
  const points = [
    ['before the authorisation is taken', 'exact.verified'],
    ['when the authorisation is taken', 'exact.taken'],
    ['when the call was served', 'exact.served'],
    ['when the transfer is recorded and not sent', 'exact.recorded'],
    ['when the transfer is sent', 'exact.sent'],
    ['when the transfer is in the chain', 'exact.concluded'],
    ['when it is settled and not answered', 'exact.settled'],
  ]
  test.each(points)('%s: the same payment is answered, and debited once', { timeout }, async (_, point) => {
    const shop = await openShop()
    const env = { ...gatewayEnv(), CRASH_AT: point }
    const dying: Service = await startGateway(stack, env, { label: `dying-${point}` })
    closers.push(dying.stop)
    const url = `${dying.url}/${shop.name}/x`
    await expect.poll(async () => (await offerOf(url)).accepts.length, { timeout: 120_000 }).toBe(2)
    const payment = await stockPayment(await newPayer(), `${shop.url}/x`)
    await expect(send(url, payment)).rejects.toThrow()
    await dying.process.exited

    // Another gateway answers once the first is known to be gone.
    const soon = { timeout: 180_000, interval: 500 }
    await expect.poll(async () => (await send(`${shop.url}/x`, payment)).status, soon).toBe(200)
    expect(await balanceOf(shop.payee)).toBe(price)
    expect(await send(`${shop.url}/x`, payment)).toMatchObject({ status: 409, body: { code: 'request.answered' } })
    expect(await balanceOf(shop.payee)).toBe(price)
    expect(shop.calls.length).toBeLessThanOrEqual(2)
  })
})
