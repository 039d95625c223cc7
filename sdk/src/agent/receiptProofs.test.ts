import { createHash, generateKeyPairSync, type JsonWebKey, type KeyObject, sign } from 'node:crypto'
import {
  decodeHeader,
  encodeHeader,
  type ReceiptKey,
  receiptKeysPath,
  receiptText,
  type SettleResponse,
  settleResponseSchema,
} from '@protocolbanks/stream-protocol'
import { afterEach, expect, test } from 'vitest'
import { startTestGateway, type TestGateway } from '../testing/startTestGateway.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import { createPayingFetch } from './createPayingFetch.ts'
import { ReceiptForgedError, type ReceiptKeys } from './receiptProofs.ts'

const gateways: TestGateway[] = []
afterEach(async () => {
  for (const gateway of gateways.splice(0)) await gateway.close()
})

type TestKey = { privateKey: KeyObject; key: ReceiptKey }

function createKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x = '', y = '' }: JsonWebKey = publicKey.export({ format: 'jwk' })
  const kid = createHash('sha256').update(x).digest('base64url')
  return { privateKey, key: { kty: 'EC', crv: 'P-256', x, y, kid, alg: 'ES256', use: 'sig' } }
}

const mine = createKey()
const other = createKey()

function signedBy({ privateKey, key }: TestKey) {
  return (receipt: SettleResponse): SettleResponse => {
    const header = Buffer.from(JSON.stringify({ alg: 'ES256', kid: key.kid })).toString('base64url')
    const input = Buffer.from(`${header}.${Buffer.from(receiptText(receipt)).toString('base64url')}`)
    const signature = sign('sha256', input, { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')
    return { ...receipt, extra: { ...receipt.extra, signature: `${header}..${signature}` } }
  }
}

type Behaviour = {
  /** What becomes of the receipts of the gateway behind. */
  rewrite?: (receipt: SettleResponse) => SettleResponse
  /** Answer of its key set; undefined: there is none. */
  keys?: () => unknown
  receiptKeys?: ReceiptKeys
}

/** An agent that pays a server which signs, or forges, the receipts of the gateway behind it. */
async function setUp(server: Behaviour) {
  const { grant, privateKey, sessionKey } = createTestGrant()
  const gateway = await startTestGateway({ grant, sessionKey })
  gateways.push(gateway)
  const state = { asked: 0, nowMs: 1_000_000 }
  const payingFetch = createPayingFetch({
    grant,
    sessionKey: privateKey,
    clock: () => state.nowMs,
    ...(server.receiptKeys && { receiptKeys: server.receiptKeys }),
    async fetch(input, init) {
      if (String(input) === gateway.url + receiptKeysPath) {
        state.asked++
        const answer = server.keys?.()
        return answer === undefined ? new Response(null, { status: 404 }) : Response.json(answer)
      }
      const response = await fetch(input, init)
      const receipt = decodeHeader(response.headers.get('payment-response') ?? '', settleResponseSchema)
      if (!receipt.ok || !server.rewrite) return response
      const headers = new Headers(response.headers)
      headers.set('payment-response', encodeHeader(server.rewrite(receipt.value)))
      return new Response(response.body, { status: response.status, headers })
    },
  })
  return { gateway, payingFetch, state, call: () => payingFetch(`${gateway.url}/paid`) }
}

const published = (...keys: TestKey[]) => ({ keys: keys.map(({ key }) => key) })

test('a signed receipt is verified with the keys of the origin, which are asked for once', async () => {
  const { call, payingFetch, state } = await setUp({ rewrite: signedBy(mine), keys: () => published(other, mine) })
  for (let calls = 0; calls < 3; calls++) expect((await call()).status).toBe(200)
  expect(state.asked).toBe(1)
  const [receipt] = payingFetch.receipts()
  expect(receipt?.paymentResponse.extra?.signature).toMatch(/^[\w-]+\.\.[\w-]{86}$/)
})

test('a receipt that its key did not sign is a lie: the answer is not given, and the payee is paid no more', async () => {
  const rewrite = (receipt: SettleResponse) => {
    const signed = signedBy(mine)(receipt)
    return { ...signed, extra: { ...signed.extra, traceId: 'ff' } }
  }
  const { call, gateway, payingFetch } = await setUp({ rewrite, keys: () => published(mine) })
  await expect(call()).rejects.toBeInstanceOf(ReceiptForgedError)
  // It was charged, so it is counted, and what it said is kept as it came.
  expect(payingFetch.spentAtomic()).toBe(gateway.price)
  expect(payingFetch.receipts()[0]?.paymentResponse.extra?.traceId).toBe('ff')
  const before = gateway.arrivals.length
  await expect(call()).rejects.toThrow('An earlier call found this out')
  expect(gateway.arrivals.length).toBe(before)
})

test('a key that nobody publishes proves nothing, and is no lie', async () => {
  for (const keys of [() => undefined, () => published(other), () => ({ keys: 'none' }), () => 'text']) {
    const { call } = await setUp({ rewrite: signedBy(mine), keys })
    expect((await call()).status).toBe(200)
  }
})

test('keys that change are asked for again, once a minute at most', async () => {
  const set = { keys: published(other) }
  const { call, state } = await setUp({ rewrite: signedBy(mine), keys: () => set.keys })
  await call()
  await call()
  expect(state.asked).toBe(1)
  state.nowMs += 60_000
  set.keys = published(other, mine)
  await call()
  await call()
  expect(state.asked).toBe(2)
})

test('nobody is asked for keys who signs nothing, or where nobody looks', async () => {
  const unsigned = await setUp({ keys: () => published(mine) })
  expect((await unsigned.call()).status).toBe(200)
  const unseen = await setUp({ rewrite: signedBy(other), keys: () => published(mine), receiptKeys: 'none' })
  expect((await unseen.call()).status).toBe(200)
  expect([unsigned.state.asked, unseen.state.asked]).toEqual([0, 0])
})

test('with keys of its own the agent takes no receipt but of these', async () => {
  const receiptKeys = [mine.key]
  const good = await setUp({ rewrite: signedBy(mine), receiptKeys })
  expect((await good.call()).status).toBe(200)
  expect(good.state.asked).toBe(0)
  for (const behaviour of [{}, { rewrite: signedBy(other), keys: () => published(other) }]) {
    const { call } = await setUp({ ...behaviour, receiptKeys })
    await expect(call()).rejects.toBeInstanceOf(ReceiptForgedError)
  }
})
