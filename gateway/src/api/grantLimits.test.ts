import { listAudit, updateGrantStates, upsertAccountsFromChain } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createSiweMessage } from 'viem/siwe'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import {
  chain,
  consoleOrigin,
  createTestApi,
  operatorApiKey,
  randomAddress,
  randomHex,
  type TestApi,
  type TestMerchant,
} from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let shop: TestMerchant
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  shop = await api.createMerchant('Shop')
})
afterAll(() => database.drop())

const owner = privateKeyToAccount(generatePrivateKey())
/** Of all charges of a test: they are within one day, whatever the time is. */
let chargedAtMs: number
let grant: { grantId: Hex; account: Address; sessionKey: Address }
let limitsOfKey: string
let limitsOfOwner: string
let token: string
beforeEach(async () => {
  grant = await arrangeGrant(owner.address)
  chargedAtMs = Date.now()
  limitsOfKey = `/session-keys/${grant.sessionKey}/limits`
  limitsOfOwner = `/owner/grants/${grant.grantId}/limits`
  token = await signIn()
})

async function arrangeGrant(account: Address, sessionKey = randomAddress()) {
  const terms = { sessionKey, totalLimit: '100', validUntil: 4_000_000_000 }
  const { body } = await api.post('/session-keys', shop.key, { account, terms, payees: [shop.payee] })
  const { grantId } = body as { grantId: Hex }
  const state = { settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 100n }
  await updateGrantStates(database.db, [{ grantId, status: 'active', ...state }])
  const money = { balance: 1_000_000_000n, allowance: 500_000_000n, accountFrozen: false, guardian: randomAddress() }
  await upsertAccountsFromChain(database.db, [{ account, token: chain.token, ...money, epoch: 0n, blockNumber: 100n }])
  await api.mirror.mirrorAccount(account)
  return { grantId, account, sessionKey }
}

async function signIn(): Promise<string> {
  const { body } = await api.post('/owners/nonce', '')
  const message = createSiweMessage({
    address: owner.address,
    chainId: body.chainId,
    domain: new URL(consoleOrigin).host,
    nonce: body.nonce,
    statement: body.statement,
    uri: consoleOrigin,
    version: '1',
  })
  const session = await api.post('/owners/session', '', { message, signature: await owner.signMessage({ message }) })
  return session.body.token
}

/** What the meter says to one more call. */
async function charge(amount: bigint): Promise<string> {
  const decision = await api.meter.charge({
    account: grant.account,
    grantId: grant.grantId,
    payee: shop.payee,
    amount,
    cumulativeAmount: 50_000_000n,
    requestId: randomHex(16),
    fingerprint: 'f',
    nowMs: chargedAtMs,
    settlementMarginSeconds: 600,
    event: { service: 'svc_1', merchant: shop.id, signature: randomHex(65) },
  })
  if (decision.ok) return 'ok'
  return 'limit' in decision ? `${decision.code} ${decision.limit}` : decision.code
}

test('the operator limits what a grant may spend, and the meter keeps to it from the answer on', async () => {
  expect(await charge(60_000n)).toBe('ok')
  const { status, body } = await api.put(limitsOfKey, operatorApiKey, {
    all: { maxAmountPerDay: '0.1', maxCallsPerHour: 50 },
    payees: [{ payee: shop.payee, limits: { maxAmountPerCall: '0.05' } }],
  })
  expect(status).toBe(200)
  expect(body.grants).toMatchObject([
    {
      grantId: grant.grantId,
      owner: { all: null, payees: [] },
      operator: { all: { maxAmountPerDay: '0.1', maxAmountPerDayAtomic: '100000', maxCallsPerHour: 50 } },
      effective: { payees: [{ payee: shop.payee, limits: { maxAmountPerCallAtomic: '50000' } }] },
    },
  ])
  expect(await charge(60_000n)).toBe('limit.per_call payee_call')
  expect([await charge(50_000n), await charge(50_000n), await charge(1n)]).toEqual([
    'ok',
    'ok',
    'limit.spend grant_day',
  ])
  expect((await api.get(`${limitsOfKey}?grantId=${grant.grantId}`, operatorApiKey)).body).toEqual(body)
  expect((await api.put(limitsOfKey, operatorApiKey, {})).status).toBe(200)
  expect(await charge(60_000n)).toBe('ok')
})

test('owner and operator set theirs apart: the stricter of both holds, and neither can loosen the other’s', async () => {
  await api.put(limitsOfKey, operatorApiKey, { all: { maxAmountPerCall: '0.02', maxCallsPerDay: 100 } })
  const own = await api.put(limitsOfOwner, token, { all: { maxAmountPerCall: '0.05', maxCallsPerDay: 10 } })
  expect(own).toMatchObject({
    status: 200,
    body: {
      owner: { all: { maxAmountPerCall: '0.05', maxCallsPerDay: 10 } },
      operator: { all: { maxAmountPerCall: '0.02', maxCallsPerDay: 100 } },
      effective: { all: { maxAmountPerCall: '0.02', maxCallsPerDay: 10 } },
    },
  })
  expect(await charge(20_001n)).toBe('limit.per_call grant_call')
  await api.put(limitsOfKey, operatorApiKey, {})
  expect(await charge(50_001n)).toBe('limit.per_call grant_call')
  expect((await api.get(limitsOfOwner, token)).body.effective.all.maxAmountPerCall).toBe('0.05')
  const actor = `owner:${owner.address.toLowerCase()}`
  const { items } = await listAudit(database.db, { subject: grant.grantId })
  expect(items.filter(({ action }) => action === 'grant_limits_change')).toMatchObject([
    { actor: 'operator', action: 'grant_limits_change', after: { all: null } },
    { actor, action: 'grant_limits_change', before: { all: null }, after: { all: { maxCallsPerDay: 10 } } },
    { actor: 'operator', action: 'grant_limits_change' },
  ])
})

test('without a grant named the limits are of all grants of the session key', async () => {
  const other = await arrangeGrant(randomAddress(), grant.sessionKey)
  const { body } = await api.put(limitsOfKey, operatorApiKey, { all: { maxCallsPerMinute: 3 } })
  const ids = body.grants.map(({ grantId }: { grantId: Hex }) => grantId)
  expect(ids.toSorted()).toEqual([grant.grantId, other.grantId].toSorted())
})

test('a merchant, a stranger and somebody without a session change nothing', async () => {
  expect(await api.put(limitsOfKey, shop.key, {})).toMatchObject({ status: 403, body: { code: 'operator.required' } })
  const theirs = await arrangeGrant(randomAddress())
  const path = `/owner/grants/${theirs.grantId}/limits`
  expect(await api.put(path, token, { all: { maxCallsPerDay: 1 } })).toMatchObject({
    status: 404,
    body: { code: 'grant.unknown' },
  })
  expect(await api.get(path, token)).toMatchObject({ status: 404 })
  expect(await api.put(limitsOfOwner, 'pbo_nobody', {})).toMatchObject({ status: 401 })
  const [refusal] = (await listAudit(database.db, { subject: theirs.grantId })).items
  expect(refusal).toMatchObject({ action: 'grant_limits_change', outcome: 'refused', errorCode: 'grant.unknown' })
  expect(await database.query('select * from grant_limit where grant_id = $1', [theirs.grantId])).toEqual([])
})

test('what makes no sense is refused: 400, 404', async () => {
  for (const body of [
    { all: { maxCallsPerDay: 0 } },
    { all: { maxAmountPerDay: 1 } },
    { all: { maxAmountPerWeek: '1' } },
    {
      payees: [
        { payee: shop.payee, limits: {} },
        { payee: shop.payee, limits: {} },
      ],
    },
    { payees: Array.from({ length: 21 }, () => ({ payee: randomAddress(), limits: {} })) },
  ]) {
    expect(await api.put(limitsOfKey, operatorApiKey, body)).toMatchObject({
      status: 400,
      body: { code: 'request.invalid' },
    })
  }
  expect(await api.put(`/session-keys/${randomAddress()}/limits`, operatorApiKey, {})).toMatchObject({
    status: 404,
    body: { code: 'session_key.unknown' },
  })
})

test('a service limits what one grant may spend at it: every limit comes back as it was set, and goes again', async () => {
  const limits = {
    maxAmountPerCall: '0.5',
    maxCallsPerMinute: 10,
    maxCallsPerHour: 100,
    maxCallsPerDay: 1_000,
    maxAmountPerMinute: '1',
    maxAmountPerHour: '10',
    maxAmountPerDay: '50',
  }
  const service = { name: 'limited', pathPrefix: '/limited', upstream: null, price: '0.01' }
  const made = await api.post('/services', shop.key, { ...service, ...limits })
  expect(made).toMatchObject({ status: 201, body: { ...limits, maxAmountPerDayAtomic: '50000000' } })
  const path = `/services/${made.body.id}`
  expect((await api.get(path, shop.key)).body).toEqual(made.body)
  const changed = await api.patch(path, shop.key, { maxAmountPerDay: null, maxCallsPerHour: 5 })
  expect(changed.body).toMatchObject({
    ...limits,
    maxAmountPerDay: null,
    maxAmountPerDayAtomic: null,
    maxCallsPerHour: 5,
  })
})
