import { randomBytes } from 'node:crypto'
import type { LookupFunction } from 'node:net'
import type { Db } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { pino } from 'pino'
import { getAddress, verifyMessage } from 'viem'
import { createAccountMirror } from '../../indexer/accountMirror.ts'
import { createEmbeddedMeter } from '../../meter/embedded.ts'
import type { Meter } from '../../meter/meter.ts'
import { createOwnerSignIn, type OwnerSignInOptions } from '../../owners/ownerSignIn.ts'
import type { Chain } from '../../payment/chain.ts'
import { createReceiptSigner } from '../../payment/createReceiptSigner.ts'
import { createUpstreamGuard } from '../../proxy/upstreamGuard.ts'
import { parseEndpointUrl } from '../../webhooks/endpointUrl.ts'
import { createSecretBox } from '../../webhooks/secretBox.ts'
import { apiProblem } from '../apiProblem.ts'
import { createApi } from '../createApi.ts'
import { holdToDocument } from './holdToDocument.ts'
import { createTestCharges } from './testCharges.ts'

const addressOf = (digit: string) => getAddress(`0x${digit.repeat(40)}`)

export const operatorApiKey = `operator-${randomBytes(16).toString('hex')}`
export const chain: Chain = {
  chainId: 31_337,
  module: addressOf('a'),
  settler: addressOf('b'),
  token: addressOf('c'),
  entryPoint: addressOf('d'),
}

/** Of this API's receipts. */
export const receiptSigner = createReceiptSigner(`0x${'7a'.repeat(32)}`)

/** The page that owners sign in at. */
export const consoleOrigin = 'https://console.example.com'

export type TestMerchant = { id: string; payee: Address; keyId: string; key: string }
export type TestApi = ReturnType<typeof createTestApi>

/** A JSON answer. Its shape is what the tests are about. */
// biome-ignore lint/suspicious/noExplicitAny: a test looks into it
type Answer = { status: number; headers: Headers; body: any }

/** The management API and the charges API with an embedded meter, on a database of the test's own. */
export function createTestApi(
  db: Db,
  {
    meter: given,
    signIn,
    requestsPerMinute = 1_000_000,
    clock = Date.now,
  }: {
    meter?: Meter
    signIn?: Partial<OwnerSignInOptions>
    requestsPerMinute?: number
    clock?: () => number
  } = {},
) {
  const meter = given ?? createEmbeddedMeter({ clock: Date.now, instance: 'gateway-1' })
  const logger = pino({ level: 'silent' })
  const mirror = createAccountMirror({ db, meter, token: chain.token, clock: Date.now, logger })
  let invalidated = 0
  const charges = createTestCharges({ db, meter, chain, mirror })
  const app = new Hono()
  app.route('/api/charges', charges)
  app.route(
    '/api',
    createApi({
      charges,
      db,
      meter,
      clock,
      requestsPerMinute,
      logger,
      operatorApiKey,
      chain,
      freshness: () => ({ block: 7n, checkedAt: 5 }),
      mirrorAccount: mirror.mirrorAccount,
      receiptSigner,
      services: { invalidate: () => void invalidated++ },
      stopping: new AbortController().signal,
      checkUpstream: createUpstreamGuard({ allowedHosts: [], allowPrivateNetworks: false, lookup }).check,
      webhooks: {
        secrets: createSecretBox([randomBytes(32)]),
        checkUrl: async (url) => parseEndpointUrl(url, { allowPrivateNetworks: false }),
      },
      ownerSignIn: createOwnerSignIn({
        origins: [consoleOrigin],
        sessionTtlMs: 3_600_000,
        // Without a chain: keys alone sign.
        verifySignature: ({ account: address, ...signed }) => verifyMessage({ address, ...signed }),
        clientOf: (c) => c.req.header('x-client') ?? 'test',
        secret: operatorApiKey,
        clock: Date.now,
        perMinute: 1_000,
        ...signIn,
      }),
    }),
  )

  app.onError((error) => {
    const known = apiProblem(error)
    if (known) return known
    throw error
  })

  const hold = holdToDocument(app)

  /** Every answer is held to the document of the API. */
  async function request(method: string, path: string, key: string, body?: unknown): Promise<Answer> {
    const response = await app.request(`/api${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const type = response.headers.get('content-type')
    const answered = text === '' ? undefined : JSON.parse(text)
    await hold({ method, path: `/api${path}`, status: response.status, type, body: answered })
    return { status: response.status, headers: response.headers, body: answered }
  }

  const api = {
    app,
    meter,
    mirror,
    invalidations: () => invalidated,
    get: (path: string, key: string) => request('GET', path, key),
    post: (path: string, key: string, body?: unknown) => request('POST', path, key, body),
    put: (path: string, key: string, body: unknown) => request('PUT', path, key, body),
    patch: (path: string, key: string, body: unknown) => request('PATCH', path, key, body),
    delete: (path: string, key: string) => request('DELETE', path, key),
    async createMerchant(name: string): Promise<TestMerchant> {
      const payee = randomAddress()
      const merchant = await request('POST', '/merchants', operatorApiKey, { name, payee })
      const key = await request('POST', '/api-keys', operatorApiKey, { name, merchantId: merchant.body.id })
      return { id: merchant.body.id, payee, keyId: key.body.id, key: key.body.key }
    },
  }
  return api
}

/** Names of `*.example.com` are public, and nothing else is known: tests ask no resolver. */
const lookup: LookupFunction = (host, _, callback) => {
  if (host.endsWith('.example.com')) return callback(null, [{ address: '93.184.216.34', family: 4 }])
  callback(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), [])
}

export function randomAddress(): Address {
  return getAddress(randomHex(20))
}

export function randomHex(size: number): Hex {
  return `0x${randomBytes(size).toString('hex')}`
}
