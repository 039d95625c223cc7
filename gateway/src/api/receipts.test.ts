import {
  appendCharges,
  claimSettlement,
  closeX402Settlement,
  createService,
  openOwnerSession,
  recordX402Transaction,
  type Service,
  takeX402Payment,
  updateGrantStates,
  upsertAccountsFromChain,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type Address, type Hex, verifyReceipt } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import {
  chain,
  createTestApi,
  operatorApiKey,
  randomAddress,
  randomHex,
  receiptSigner,
  type TestApi,
  type TestMerchant,
} from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
})
afterAll(() => database.drop())

const unknown = { status: 404, body: { code: 'receipt.unknown' } }
const startMs = Date.now() - 60_000

type Shop = { merchant: TestMerchant; service: Service }
type Arranged = { grantId: Hex; account: Address; shop: Shop; other: Shop; token: string }

/** A grant at two new merchants with a service each, live on the chain, and a session of its owner. */
async function arrange(): Promise<Arranged> {
  const [shop, other] = [await arrangeShop('Shop'), await arrangeShop('Other')]
  const account = randomAddress()
  const terms = { sessionKey: randomAddress(), totalLimit: '100', validUntil: 4_000_000_000 }
  const payees = [shop.merchant.payee, other.merchant.payee]
  const { body } = await api.post('/session-keys', shop.merchant.key, { account, terms, payees })
  await api.post('/session-keys', other.merchant.key, { account, packedTerms: body.packedTerms, payees })
  const grantId: Hex = body.grantId
  const mirrored = { settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 100n }
  await updateGrantStates(database.db, [{ grantId, status: 'active', ...mirrored }])
  const funds = { token: chain.token, balance: 10n ** 9n, allowance: 10n ** 9n, blockNumber: 100n }
  const state = { accountFrozen: false, guardian: randomAddress(), epoch: 0n }
  await upsertAccountsFromChain(database.db, [{ account, ...funds, ...state }])
  return { grantId, account, shop, other, token: await signIn(account) }
}

async function arrangeShop(name: string): Promise<Shop> {
  const merchant = await api.createMerchant(name)
  const path = `/${randomHex(6)}`
  const service = await createService(database.db, {
    merchantId: merchant.id,
    name: path.slice(1),
    pathPrefix: path,
    price: 10_000n,
    token: chain.token,
  })
  return { merchant, service }
}

async function signIn(account: Address): Promise<string> {
  const now = new Date()
  const expiresAt = new Date(now.getTime() + 600_000)
  const session = await openOwnerSession(database.db, { account, nonce: randomHex(16).slice(2), now, expiresAt })
  return session?.token ?? ''
}

let events = 0

/** The journal of one charge, the `index`-th of its grant. */
async function charge({ grantId, account }: Arranged, { merchant, service }: Shop, index: number, requestId: string) {
  const occurredAtMs = startMs + index * 1_000
  const event = {
    eventId: `p7-${occurredAtMs}-${events++}`,
    occurredAtMs,
    account,
    grantId,
    payee: merchant.payee,
    merchantId: merchant.id,
    serviceId: service.id,
    requestId,
    fingerprint: randomHex(32),
    amount: 10_000n,
    cumulativeAmount: BigInt(index) * 10_000n,
    signature: randomHex(65),
    traceId: randomHex(16).slice(2),
  }
  await appendCharges(database.db, [event])
  return event
}

/** A call that was paid by one authorisation, and moved the money in `txHash`. */
async function payExact({ merchant, service }: Shop, payer: Address, paymentIdentifier: string | null) {
  const [now, owner] = [new Date(), 'gateway-1']
  const payment = await takeX402Payment(
    database.db,
    {
      ...{ origin: 'gateway', merchantId: merchant.id, serviceId: service.id, token: chain.token, payer },
      ...{ payee: merchant.payee, amount: 20_000n, validAfter: 0n, validBefore: 4_000_000_000n, nonce: randomHex(32) },
      ...{ signature: randomHex(65), paymentIdentifier, fingerprint: randomHex(32) },
    },
    { owner, leaseMs: 60_000, now },
  )
  const [id, txHash] = [payment?.id ?? '', randomHex(32)]
  await recordX402Transaction(database.db, {
    ...{ id, owner, purpose: 'transfer', sender: randomAddress(), now, chainNonce: 0 },
    sign: async () => ({ rawTransaction: '0x01', hash: txHash }),
  })
  await closeX402Settlement(database.db, { id, outcome: { state: 'settled', txHash, blockNumber: 7n } })
  return { id, txHash }
}

const newRequestId = () => `request-${randomHex(8)}`

test('a charge is found by its request id, with a receipt that proves itself and says what was charged when', async () => {
  const given = await arrange()
  const { shop, grantId, account } = given
  await charge(given, shop, 1, newRequestId())
  const requestId = newRequestId()
  const { eventId, occurredAtMs, traceId } = await charge(given, shop, 2, requestId)
  await charge(given, shop, 3, newRequestId())
  // Another payee's charges of the same grant do not count.
  await charge(given, given.other, 4, newRequestId())

  const { status, body } = await api.get(`/receipts/${requestId}`, shop.merchant.key)
  expect({ status, requestId: body.requestId, found: body.receipts.length }).toEqual({
    status: 200,
    requestId,
    found: 1,
  })
  const [found] = body.receipts
  const time = new Date(occurredAtMs).toISOString()
  expect(found).toMatchObject({
    eventId,
    occurredAt: time,
    journalledAt: expect.any(String),
    serviceId: shop.service.id,
    amount: '0.01',
    amountAtomic: '10000',
    settlement: { state: 'owed', last: null },
  })
  const payee = shop.merchant.payee
  const extra = { grantId, payee, requestId, service: shop.service.id, source: 'allowance', time, traceId }
  expect(found.receipt).toMatchObject({
    success: true,
    network: 'eip155:31337',
    payer: account,
    amount: '10000',
    extra: { ...extra, charged: '20000', authorized: '20000' },
  })
  for (const form of [found.header, found.receipt]) {
    expect(await verifyReceipt(form, [receiptSigner.key])).toMatchObject({ ok: true, receipt: found.receipt })
  }
})

test('it is seen by its merchant, its owner and the operator, and by nobody else', async () => {
  const given = await arrange()
  const requestId = newRequestId()
  await charge(given, given.shop, 1, requestId)
  const one = { status: 200, body: { receipts: [{ requestId }] } }
  expect(await api.get(`/receipts/${requestId}`, given.shop.merchant.key)).toMatchObject(one)
  expect(await api.get(`/receipts/${requestId}`, operatorApiKey)).toMatchObject(one)
  expect(await api.get(`/owner/receipts/${requestId}`, given.token)).toMatchObject(one)

  expect(await api.get(`/receipts/${requestId}`, given.other.merchant.key)).toMatchObject(unknown)
  const stranger = await signIn(randomAddress())
  expect(await api.get(`/owner/receipts/${requestId}`, stranger)).toMatchObject(unknown)
  const lists = [
    await api.get(`/receipts?grantId=${given.grantId}`, given.other.merchant.key),
    await api.get(`/receipts?serviceId=${given.shop.service.id}`, given.other.merchant.key),
    await api.get(`/owner/receipts?grantId=${given.grantId}`, stranger),
  ]
  for (const list of lists) expect(list).toMatchObject({ status: 200, body: { receipts: [] } })
})

test('a payment by exact is seen by its merchant, its payer and the operator, and by no other merchant', async () => {
  const [shop, other] = [await arrangeShop('Shop'), await arrangeShop('Other')]
  const payer = randomAddress()
  const token = await signIn(payer)
  const requestId = newRequestId()
  const { id, txHash } = await payExact(shop, payer, requestId)
  const stranger = await signIn(randomAddress())
  for (const name of [requestId, id, txHash]) {
    const one = { status: 200, body: { requestId: name, receipts: [{ scheme: 'exact', requestId, paymentId: id }] } }
    expect(await api.get(`/receipts/${name}`, shop.merchant.key)).toMatchObject(one)
    expect(await api.get(`/receipts/${name}`, operatorApiKey)).toMatchObject(one)
    expect(await api.get(`/owner/receipts/${name}`, token)).toMatchObject(one)
    expect(await api.get(`/receipts/${name}`, other.merchant.key)).toMatchObject(unknown)
    expect(await api.get(`/owner/receipts/${name}`, stranger)).toMatchObject(unknown)
    expect(await api.get(`/receipts/${name}?payee=${other.merchant.payee}`, operatorApiKey)).toMatchObject(unknown)
    expect(await api.get(`/receipts/${name}?grantId=${randomHex(32)}`, operatorApiKey)).toMatchObject(unknown)
  }
  const list = async (path: string, key: string) => (await api.get(path, key)).body.receipts
  const listed = [{ scheme: 'exact', requestId, paymentId: id, txHash, amount: '0.02', account: payer }]
  expect(await list('/receipts?scheme=exact', shop.merchant.key)).toMatchObject(listed)
  expect(await list(`/receipts?scheme=exact&serviceId=${shop.service.id}`, operatorApiKey)).toMatchObject(listed)
  expect(await list('/owner/receipts?scheme=exact', token)).toMatchObject(listed)
  expect(await list('/receipts?scheme=exact', other.merchant.key)).toEqual([])
  expect(await list(`/receipts?scheme=exact&serviceId=${shop.service.id}`, other.merchant.key)).toEqual([])
  expect(await list('/owner/receipts?scheme=exact', stranger)).toEqual([])
  // What is charged and what is paid at once are two lists.
  expect(await list('/receipts', shop.merchant.key)).toEqual([])
})

test('its receipt proves itself, and names the transaction that settled it', async () => {
  const shop = await arrangeShop('Shop')
  const payer = randomAddress()
  const { id, txHash } = await payExact(shop, payer, null)
  const { body } = await api.get(`/receipts/${id}`, shop.merchant.key)
  const [found] = body.receipts
  expect(found).toMatchObject({
    ...{ requestId: id, account: payer, payee: shop.merchant.payee, merchantId: shop.merchant.id },
    ...{ serviceId: shop.service.id, amount: '0.02', amountAtomic: '20000', occurredAt: expect.any(String) },
    settlement: { state: 'settled', last: { id, state: 'settled', txHash } },
  })
  expect(found.receipt).toEqual({
    ...{ success: true, transaction: txHash, network: 'eip155:31337', payer, amount: '20000' },
    extra: {
      ...{ paymentId: id, requestId: id, service: shop.service.id, payee: shop.merchant.payee },
      signature: expect.any(String),
    },
  })
  for (const form of [found.header, found.receipt]) {
    expect(await verifyReceipt(form, [receiptSigner.key])).toMatchObject({ ok: true, receipt: found.receipt })
  }
})

test('a request id that named a charge and a payment by exact finds both, the newest first', async () => {
  const given = await arrange()
  const requestId = newRequestId()
  await charge(given, given.shop, 1, requestId)
  await payExact(given.shop, given.account, requestId)
  const { body } = await api.get(`/owner/receipts/${requestId}`, given.token)
  expect(body.receipts).toMatchObject([{ scheme: 'exact' }, { scheme: 'session' }])
})

test('one request id at two payees is two receipts, which payee or grant narrow to one', async () => {
  const given = await arrange()
  const { shop, other, token, grantId } = given
  const requestId = newRequestId()
  await charge(given, shop, 1, requestId)
  await charge(given, other, 2, requestId)
  const payees = async (path: string, key: string) =>
    (await api.get(path, key)).body.receipts.map(({ payee }: { payee: string }) => payee)
  const [first, second] = [shop.merchant.payee, other.merchant.payee]
  expect(await payees(`/owner/receipts/${requestId}`, token)).toEqual([second, first])
  expect(await payees(`/owner/receipts/${requestId}?payee=${first}`, token)).toEqual([first])
  expect(await payees(`/owner/receipts/${requestId}?grantId=${grantId}`, token)).toEqual([second, first])
  expect(await payees(`/receipts/${requestId}`, other.merchant.key)).toEqual([second])
  const elsewhere = await api.get(`/owner/receipts/${requestId}?grantId=${randomHex(32)}`, token)
  expect(elsewhere).toMatchObject(unknown)
})

test('a stream that was charged in segments is one receipt over all of them, settled with the last', async () => {
  const given = await arrange()
  const { shop, token, grantId } = given
  const requestId = newRequestId()
  for (const [index, id] of [requestId, `${requestId}~2`, `${requestId}~3`].entries()) {
    await charge(given, shop, index + 1, id)
  }
  await charge(given, shop, 4, newRequestId())
  const only = async () => (await api.get(`/receipts/${requestId}`, shop.merchant.key)).body.receipts
  expect(await only()).toMatchObject([{ requestId, segments: 3, amountAtomic: '30000', settlement: { state: 'owed' } }])
  const [{ receipt }] = await only()
  expect(receipt).toMatchObject({ amount: '30000', extra: { requestId, charged: '30000', authorized: '30000' } })
  const { body } = await api.get('/owner/receipts?limit=2', token)
  expect(body.receipts[1]).toMatchObject({ requestId, segment: 3, amountAtomic: '10000' })
  expect(await api.get(`/receipts/${requestId}~2`, shop.merchant.key)).toMatchObject(unknown)
  const settledAt = (amount: number) =>
    database.query(`update channel set settled = ${amount} where grant_id = '${grantId}'`)
  await settledAt(29_999)
  expect(await only()).toMatchObject([{ settlement: { state: 'owed' } }])
  await settledAt(30_000)
  expect(await only()).toMatchObject([{ settlement: { state: 'settled' } }])
})

test('it tells the settlement that claims it, and the transaction that paid it', async () => {
  const given = await arrange()
  const { shop, grantId } = given
  const requestId = newRequestId()
  await charge(given, shop, 1, requestId)
  const claim = { grantId, trigger: 'request', leaseOwner: 'w', leaseMs: 1, now: new Date() } as const
  const work = await claimSettlement(database.db, claim)
  const id = work?.settlement.id ?? ''
  const settlementOf = async () =>
    (await api.get(`/receipts/${requestId}`, shop.merchant.key)).body.receipts[0].settlement
  expect(await settlementOf()).toEqual({ state: 'settling', last: { id, state: 'pending', txHash: null } })

  const txHash = randomHex(32)
  await database.query(
    `update settlement set state = 'confirmed', tx_hash = '${txHash}', block_number = 7 where id = '${id}'`,
  )
  await database.query(`update channel set settled = 10000 where grant_id = '${grantId}'`)
  expect(await settlementOf()).toEqual({ state: 'settled', last: { id, state: 'confirmed', txHash } })
  const owned = await api.get(`/owner/receipts/${requestId}`, given.token)
  expect(owned.body.receipts[0].settlement).toEqual(await settlementOf())
})

test('what is not journalled yet, or was never charged, is unknown and may be asked for again', async () => {
  const { shop, token } = await arrange()
  for (const id of [newRequestId(), 'short', 'x'.repeat(129), "'; drop table charge; --"]) {
    for (const [path, key] of [
      ['/receipts', shop.merchant.key],
      ['/owner/receipts', token],
    ] as const) {
      const answer = await api.get(`${path}/${encodeURIComponent(id)}`, key)
      expect(answer).toMatchObject(unknown)
      expect(answer.headers.get('retry-after')).toBe('2')
    }
  }
})

test('lists go by grant, service and time, newest first, each once over all pages', async () => {
  const given = await arrange()
  const { shop, other, grantId } = given
  const ids: string[] = []
  for (let index = 1; index <= 5; index++) {
    const requestId = newRequestId()
    ids.unshift(requestId)
    await charge(given, index % 2 === 0 ? other : shop, index, requestId)
  }
  const list = async (path: string, key = operatorApiKey) => {
    const { body } = await api.get(path, key)
    return {
      ids: body.receipts.map((one: { requestId: string }) => one.requestId) as string[],
      nextCursor: body.nextCursor as string | undefined,
    }
  }
  const ofGrant = `grantId=${grantId}`
  const first = await list(`/receipts?${ofGrant}&limit=3`)
  const second = await list(`/receipts?${ofGrant}&limit=3&cursor=${first.nextCursor}`)
  expect([...first.ids, ...second.ids]).toEqual(ids)
  expect(second.nextCursor).toBeUndefined()
  expect((await list(`/receipts?serviceId=${other.service.id}`)).ids).toEqual([ids[1], ids[3]])
  const at = (index: number) => encodeURIComponent(new Date(startMs + index * 1_000).toISOString())
  expect((await list(`/receipts?${ofGrant}&from=${at(2)}&to=${at(4)}`)).ids).toEqual([ids[2], ids[3]])
  expect((await list(`/receipts`, shop.merchant.key)).ids).toEqual([ids[0], ids[2], ids[4]])
  expect((await list(`/owner/receipts`, given.token)).ids).toEqual(ids)
})

test.each([
  'limit=0',
  'limit=101',
  'scheme=other',
  `scheme=exact&grantId=0x${'ab'.repeat(32)}`,
  'grantId=0x12',
  'serviceId=weather',
  'from=yesterday',
  'cursor=!',
  'unknown=1',
])('a list refuses %s', async (query) => {
  const answer = await api.get(`/receipts?${query}`, operatorApiKey)
  expect(answer).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
})
