import {
  appendCharges,
  claimSettlement,
  type GrantFromChain,
  upsertAccountsFromChain,
  upsertGrantsFromChain,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import {
  type Address,
  type GrantTerms,
  grantIdOf,
  type Hex,
  packTerms,
  payeeProofOf,
  payeeRootOf,
  reserveOf,
} from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionData, erc20Abi, zeroAddress } from 'viem'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { MeterUnavailableError } from '../meter/errors.ts'
import {
  chain,
  createTestApi,
  operatorApiKey,
  randomAddress,
  randomHex,
  type TestApi,
  type TestMerchant,
} from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let weather: TestMerchant
let maps: TestMerchant

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  ;[weather, maps] = await Promise.all([api.createMerchant('Weather Inc'), api.createMerchant('Maps Inc')])
})
afterAll(() => database.drop())

const oneYear = 31_536_000
const nowSeconds = Math.floor(Date.now() / 1000)
const withdrawableAt = nowSeconds + 86_400

type TestGrant = { grantId: Hex; account: Address; sessionKey: Address; terms: GrantTerms }

/** A grant to both merchants, registered by both, as the owner would have signed it. */
async function registerGrant({
  sessionKey = randomAddress(),
  source = 'allowance',
}: Partial<Pick<GrantTerms, 'sessionKey' | 'source'>> = {}): Promise<TestGrant> {
  const payees = [weather.payee, maps.payee]
  const terms: GrantTerms = {
    sessionKey,
    settler: chain.settler,
    token: chain.token,
    totalLimit: 100_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: nowSeconds - 60,
    validUntil: nowSeconds + oneYear,
    payeeRoot: payeeRootOf(payees),
    source,
    salt: randomHex(24),
  }
  const account = randomAddress()
  for (const { key } of [weather, maps]) {
    await api.post('/session-keys', key, { account, packedTerms: packTerms(terms), payees })
  }
  const grantId = grantIdOf({ chainId: chain.chainId, module: chain.module, account, epoch: 0n }, terms)
  return { grantId, account, sessionKey, terms }
}

/** The same once the indexer saw it on-chain. */
async function onChain(grant: TestGrant, status: GrantFromChain['status'] = 'active'): Promise<TestGrant> {
  const { db } = database
  const { grantId, account, terms } = grant
  const state = { status, settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 5n }
  await upsertGrantsFromChain(db, [{ grantId, account, epoch: 0n, terms, ...state }])
  const funds = { balance: 50_000_000n, allowance: 100_000_000n, accountFrozen: false, guardian: zeroAddress }
  const reserve = { balance: 20_000_000n, withdrawing: 7_500_000n, withdrawableAt }
  await upsertAccountsFromChain(db, [{ account, token: chain.token, ...funds, reserve, epoch: 0n, blockNumber: 5n }])
  await api.mirror.mirrorAccount(account)
  return grant
}

const createGrant = async () => onChain(await registerGrant())

/** What the meter says to one more cent at this merchant. */
async function charge({ grantId, account }: TestGrant, { payee, id }: TestMerchant): Promise<string> {
  const decision = await api.meter.charge({
    account,
    grantId,
    payee,
    amount: 10_000n,
    cumulativeAmount: 1_000_000n,
    requestId: randomHex(16),
    fingerprint: 'f',
    nowMs: Date.now(),
    settlementMarginSeconds: 600,
    event: { service: `svc_${'1'.repeat(32)}`, merchant: id, signature: randomHex(65) },
  })
  if (decision.ok) api.meter.served(decision.ticket)
  return decision.ok ? 'charged' : decision.code
}

describe('POST /session-keys', () => {
  const terms = () => ({
    sessionKey: randomAddress(),
    totalLimit: '100',
    periodLimit: '10.5',
    period: 86_400,
    validUntil: nowSeconds + oneYear,
  })

  test('registers a grant by its terms and opens the channel of the merchant: 201', async () => {
    const account = randomAddress()
    const { status, body } = await api.post('/session-keys', weather.key, {
      account,
      terms: terms(),
      payees: [weather.payee],
    })
    expect({ status, body }).toMatchObject({
      status: 201,
      body: {
        account,
        status: 'pending',
        settler: chain.settler,
        token: chain.token,
        totalLimit: '100',
        totalLimitAtomic: '100000000',
        periodLimitAtomic: '10500000',
      },
    })
    const { functionName, args } = decodeFunctionData({ abi: sessionKeyValidatorAbi, data: body.calls.grant.data })
    expect(functionName).toBe('grant')
    expect(args?.[0]).toMatchObject({ sessionKey: body.sessionKey, totalLimit: 100_000_000n, salt: body.salt })
    const usage = await api.get(`/session-keys/${body.sessionKey}/usage`, weather.key)
    expect(usage.body.grants[0].channels).toMatchObject([{ payee: weather.payee, merchantId: weather.id }])
  })

  test('registers a grant paid from the reserve, with the deposit that its owner makes: 201', async () => {
    const account = randomAddress()
    const { status, body } = await api.post('/session-keys', weather.key, {
      account,
      terms: { ...terms(), source: 'reserve' },
      payees: [weather.payee],
    })
    expect({ status, body }).toMatchObject({
      status: 201,
      body: { source: 'reserve', backing: 'guaranteed', funds: null },
    })
    const reserve = reserveOf(chain.module)
    expect(Object.keys(body.calls)).toEqual(['installModule', 'approve', 'deposit', 'grant'])
    expect(body.calls).toMatchObject({ approve: { to: chain.token }, deposit: { to: reserve } })
    const { approve, deposit } = body.calls
    expect(decodeFunctionData({ abi: erc20Abi, data: approve.data }).args).toEqual([reserve, 100_000_000n])
    expect(decodeFunctionData({ abi: prepaidReserveAbi, data: deposit.data })).toEqual({
      functionName: 'deposit',
      args: [account, chain.token, 100_000_000n],
    })
  })

  test('registers the same once, under the id that the module gives it: 201, then 200', async () => {
    const grant = await registerGrant()
    const registration = { account: grant.account, packedTerms: packTerms(grant.terms) }
    const again = await api.post('/session-keys', operatorApiKey, registration)
    expect(again).toMatchObject({
      status: 200,
      body: { grantId: grant.grantId, packedTerms: registration.packedTerms },
    })
    const next = await api.post('/session-keys', operatorApiKey, { ...registration, epoch: 1 })
    expect(next.status).toBe(201)
    expect(next.body.grantId).not.toBe(grant.grantId)
  })

  test('takes a proof in the place of the payees: 201', async () => {
    const payees = [weather.payee, maps.payee, randomAddress()]
    const { status } = await api.post('/session-keys', maps.key, {
      account: randomAddress(),
      terms: { ...terms(), payeeRoot: payeeRootOf(payees) },
      payeeProof: payeeProofOf(payees, maps.payee),
    })
    expect(status).toBe(201)
  })

  test('a registration gives nobody authority', async () => {
    const grant = await registerGrant()
    await api.mirror.mirrorAccount(grant.account)
    expect(await charge(grant, weather)).toBe('grant.unknown')
  })

  test('refuses a grant that cannot pay the merchant: 422', async () => {
    const response = await api.post('/session-keys', weather.key, {
      account: randomAddress(),
      terms: terms(),
      payees: [maps.payee],
    })
    expect(response).toMatchObject({ status: 422, body: { code: 'payee.not_granted' } })
  })

  test('refuses to open the channel of another merchant: 404', async () => {
    const response = await api.post('/session-keys', weather.key, {
      account: randomAddress(),
      terms: terms(),
      payees: [maps.payee],
      merchantId: maps.id,
    })
    expect(response).toMatchObject({ status: 404, body: { code: 'merchant.unknown' } })
  })

  test.each([
    ['request.invalid', { terms: undefined }],
    ['request.invalid', { packedTerms: `0x${'00'.repeat(157)}` }],
    ['request.invalid', { payees: undefined }],
    ['request.invalid', { account: zeroAddress }],
    ['payees.invalid', { payees: [zeroAddress, zeroAddress] }],
    ['terms.invalid', { terms: { ...terms(), period: 0 } }],
    ['terms.invalid', { terms: { ...terms(), validAfter: 2, validUntil: 1 } }],
    ['terms.invalid', { terms: { ...terms(), totalLimit: '0' } }],
    ['terms.unsupported', { terms: { ...terms(), token: randomAddress() } }],
    ['terms.unsupported', { terms: { ...terms(), settler: randomAddress() } }],
    ['request.invalid', { terms: { ...terms(), source: 'savings' } }],
    ['payees.invalid', { terms: { ...terms(), payeeRoot: `0x${'11'.repeat(32)}` } }],
  ])('answers %s to %j: 400', async (code, change) => {
    const registration = { account: randomAddress(), terms: terms(), payees: [randomAddress()], ...change }
    expect(await api.post('/session-keys', operatorApiKey, registration)).toMatchObject({ status: 400, body: { code } })
  })
})

describe('GET /session-keys', () => {
  test('lists grants by account and session key, in pages: 200', async () => {
    const sessionKey = randomAddress()
    const grants = [await registerGrant({ sessionKey }), await registerGrant({ sessionKey })]
    const first = await api.get(`/session-keys?sessionKey=${sessionKey}&limit=1`, weather.key)
    const cursor = first.body.nextCursor
    const second = await api.get(`/session-keys?sessionKey=${sessionKey}&limit=1&cursor=${cursor}`, weather.key)
    const ids = [...first.body.grants, ...second.body.grants].map(({ grantId }) => grantId)
    expect(ids.sort()).toEqual(grants.map(({ grantId }) => grantId).sort())
    const own = await api.get(`/session-keys?account=${grants[0]?.account}`, weather.key)
    expect(own.body.grants).toMatchObject([{ grantId: grants[0]?.grantId }])
  })

  test('shows one key with its grants: 200, 404 for an unknown one', async () => {
    const { sessionKey, grantId } = await createGrant()
    const found = await api.get(`/session-keys/${sessionKey}`, weather.key)
    expect(found).toMatchObject({
      status: 200,
      body: { sessionKey, grants: [{ grantId, status: 'active', note: null }] },
    })
    const unknown = { status: 404, body: { code: 'session_key.unknown' } }
    expect(await api.get(`/session-keys/${randomAddress()}`, weather.key)).toMatchObject(unknown)
    expect(await api.get(`/session-keys/${sessionKey}?grantId=${randomHex(32)}`, weather.key)).toMatchObject(unknown)
  })

  test('shows what stands behind a grant: credit within an allowance, or a reserve and what is asked back of it', async () => {
    const credit = await createGrant()
    const prepaid = await onChain(await registerGrant({ source: 'reserve' }))
    const viewOf = async ({ sessionKey }: TestGrant) =>
      (await api.get(`/session-keys/${sessionKey}`, weather.key)).body.grants[0]
    expect(await viewOf(credit)).toMatchObject({
      source: 'allowance',
      backing: 'credit',
      funds: {
        available: '50',
        availableAtomic: '50000000',
        balance: '50',
        balanceAtomic: '50000000',
        allowance: '100',
        allowanceAtomic: '100000000',
        blockNumber: '5',
      },
    })
    expect(await viewOf(prepaid)).toMatchObject({
      source: 'reserve',
      backing: 'guaranteed',
      funds: {
        available: '12.5',
        availableAtomic: '12500000',
        reserve: '20',
        reserveAtomic: '20000000',
        withdrawing: '7.5',
        withdrawingAtomic: '7500000',
        withdrawableAt: new Date(withdrawableAt * 1_000).toISOString(),
        blockNumber: '5',
      },
    })
  })

  test('a merchant sees the grants that it has a channel on, and no others', async () => {
    const account = randomAddress()
    const { body } = await api.post('/session-keys', maps.key, {
      account,
      terms: { sessionKey: randomAddress(), totalLimit: '1', validUntil: nowSeconds + oneYear },
      payees: [maps.payee],
    })
    for (const path of ['', '/usage']) {
      expect((await api.get(`/session-keys/${body.sessionKey}${path}`, maps.key)).status).toBe(200)
      expect((await api.get(`/session-keys/${body.sessionKey}${path}`, weather.key)).status).toBe(404)
    }
    expect((await api.post(`/session-keys/${body.sessionKey}/freeze`, weather.key)).status).toBe(404)
    expect((await api.delete(`/session-keys/${body.sessionKey}`, weather.key)).status).toBe(404)
    expect((await api.get(`/session-keys?account=${account}`, weather.key)).body.grants).toEqual([])
  })
})

describe('freezing and removing', () => {
  test("a merchant's freeze stops its own channel at once, and no other; unfreezing resumes it", async () => {
    const grant = await createGrant()
    expect([await charge(grant, weather), await charge(grant, maps)]).toEqual(['charged', 'charged'])
    const frozen = await api.post(`/session-keys/${grant.sessionKey}/freeze`, weather.key, { reason: 'looks odd' })
    expect(frozen).toMatchObject({
      status: 200,
      body: { grants: [{ status: 'frozen', onChainStatus: 'active', controls: [{ reason: 'looks odd' }] }] },
    })
    expect([await charge(grant, weather), await charge(grant, maps)]).toEqual(['grant.frozen', 'charged'])
    const seenByMaps = await api.get(`/session-keys/${grant.sessionKey}`, maps.key)
    expect(seenByMaps.body.grants).toMatchObject([{ status: 'active', controls: [] }])

    const resumed = await api.post(`/session-keys/${grant.sessionKey}/unfreeze`, weather.key)
    expect(resumed).toMatchObject({ status: 200, body: { grants: [{ status: 'active', note: null }] } })
    expect(await charge(grant, weather)).toBe('charged')
  })

  test("the operator's freeze stops the whole grant, and no merchant can lift it", async () => {
    const grant = await createGrant()
    await api.post(`/session-keys/${grant.sessionKey}/freeze`, operatorApiKey)
    expect([await charge(grant, weather), await charge(grant, maps)]).toEqual(['grant.frozen', 'grant.frozen'])
    const tried = await api.post(`/session-keys/${grant.sessionKey}/unfreeze`, weather.key)
    expect(tried).toMatchObject({
      status: 200,
      body: { grants: [{ status: 'frozen', note: 'Frozen off-chain by the operator.', controls: [{ actor: null }] }] },
    })
    expect(await charge(grant, weather)).toBe('grant.frozen')
    await api.post(`/session-keys/${grant.sessionKey}/unfreeze`, operatorApiKey)
    expect(await charge(grant, weather)).toBe('charged')
  })

  test('of several holds each is lifted by itself, and by the operator all at once', async () => {
    const grant = await createGrant()
    const path = `/session-keys/${grant.sessionKey}` as const
    for (const holder of ['sentinel', 'rule']) await api.post(`${path}/freeze`, operatorApiKey, { holder })
    const byHand = await api.post(`${path}/freeze`, operatorApiKey)
    const holders = (answer: typeof byHand) =>
      answer.body.grants[0].controls.map(({ holder }: { holder: string }) => holder).toSorted()
    expect(holders(byHand)).toEqual(['operator', 'rule', 'sentinel'])
    expect(holders(await api.post(`${path}/unfreeze`, operatorApiKey, { holder: 'rule' }))).toEqual([
      'operator',
      'sentinel',
    ])
    expect(await charge(grant, weather)).toBe('grant.frozen')
    expect(holders(await api.post(`${path}/unfreeze`, operatorApiKey))).toEqual([])
    expect(await charge(grant, weather)).toBe('charged')
    const named = await api.post(`${path}/freeze`, weather.key, { holder: 'sentinel' })
    expect(named).toMatchObject({ status: 403, body: { code: 'operator.required' } })
    expect(await charge(grant, weather)).toBe('charged')
  })

  test('unfreezing lifts no freeze of the chain, and says so', async () => {
    const grant = await onChain(await registerGrant(), 'frozen')
    const answer = await api.post(`/session-keys/${grant.sessionKey}/unfreeze`, operatorApiKey)
    expect(answer.body.grants).toMatchObject([
      { status: 'frozen', note: 'Frozen on-chain: only the owner can unfreeze it.' },
    ])
    expect(await charge(grant, weather)).toBe('grant.frozen')
  })

  test('a removal is final: freezing and unfreezing answer 409 and change nothing', async () => {
    const grant = await createGrant()
    const gone = await api.delete(`/session-keys/${grant.sessionKey}`, weather.key)
    expect(gone).toMatchObject({ status: 200, body: { grants: [{ status: 'revoked', onChainStatus: 'active' }] } })
    expect([await charge(grant, weather), await charge(grant, maps)]).toEqual(['grant.revoked', 'charged'])
    const removed = { status: 409, body: { code: 'grant.removed' } }
    expect(await api.post(`/session-keys/${grant.sessionKey}/freeze`, weather.key)).toMatchObject(removed)
    expect(await api.post(`/session-keys/${grant.sessionKey}/unfreeze`, weather.key)).toMatchObject(removed)
    expect(await charge(grant, weather)).toBe('grant.revoked')
  })

  test('acts on all grants of the key, or on the one that is named', async () => {
    const sessionKey = randomAddress()
    const [one, two] = [await registerGrant({ sessionKey }), await registerGrant({ sessionKey })]
    await Promise.all([onChain(one), onChain(two)])
    await api.post(`/session-keys/${sessionKey}/freeze?grantId=${one.grantId}`, weather.key)
    expect([await charge(one, weather), await charge(two, weather)]).toEqual(['grant.frozen', 'charged'])
    await api.post(`/session-keys/${sessionKey}/freeze`, weather.key)
    expect(await charge(two, weather)).toBe('grant.frozen')
  })

  test('a freeze outlives a meter that cannot be reached: 503, and it arrives by itself', async () => {
    const grant = await createGrant()
    const state = { isUp: false }
    const other = createTestApi(database.db, {
      meter: {
        ...api.meter,
        async mirror(account) {
          if (!state.isUp) throw new MeterUnavailableError('The meter is gone.')
          await api.meter.mirror(account)
        },
      },
    })
    const answer = await other.post(`/session-keys/${grant.sessionKey}/freeze`, weather.key)
    expect(answer).toMatchObject({ status: 503, body: { code: 'meter.unavailable' } })
    expect(await other.mirror.flush(10)).toBe(1)
    expect(await charge(grant, weather)).toBe('charged')
    state.isUp = true
    expect(await other.mirror.flush(10)).toBe(0)
    expect(await charge(grant, weather)).toBe('grant.frozen')
  })

  test('of many freezes and unfreezes at once the last to be stored is what the meter has', async () => {
    const grant = await createGrant()
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        api.post(`/session-keys/${grant.sessionKey}/${index % 2 ? 'freeze' : 'unfreeze'}`, weather.key),
      ),
    )
    const { body } = await api.get(`/session-keys/${grant.sessionKey}`, weather.key)
    expect(await charge(grant, weather)).toBe(body.grants[0].status === 'frozen' ? 'grant.frozen' : 'charged')
  })

  test.each([[{ reason: '' }], [{ why: 'x' }]])('refuses the body %j: 400', async (body) => {
    const { sessionKey } = await registerGrant()
    expect(await api.post(`/session-keys/${sessionKey}/freeze`, weather.key, body)).toMatchObject({ status: 400 })
  })
})

/** Two cents charged to the journal. */
async function journal({ grantId, account }: TestGrant, { id, payee }: TestMerchant): Promise<void> {
  const event = {
    account,
    grantId,
    payee,
    merchantId: id,
    serviceId: `svc_${'1'.repeat(32)}`,
    fingerprint: 'f',
    amount: 10_000n,
    cumulativeAmount: 1_000_000n,
    signature: randomHex(65),
    occurredAtMs: Date.now(),
  }
  await appendCharges(database.db, [
    { ...event, eventId: randomHex(8), requestId: randomHex(16) },
    { ...event, eventId: randomHex(8), requestId: randomHex(16) },
  ])
}

test('usage shows the journal and the live meter, a merchant its own channel only', async () => {
  const grant = await createGrant()
  await Promise.all([journal(grant, weather), journal(grant, maps)])
  await api.mirror.mirrorAccount(grant.account)
  await charge(grant, weather)
  const { status, body } = await api.get(`/session-keys/${grant.sessionKey}/usage`, weather.key)
  expect(status).toBe(200)
  expect(body.grants).toMatchObject([
    {
      grantId: grant.grantId,
      status: 'active',
      channels: [
        {
          payee: weather.payee,
          merchantId: weather.id,
          calls: 2,
          authorized: '1',
          charged: '0.02',
          chargedAtomic: '20000',
          settled: '0',
          outstandingAtomic: '20000',
          live: { authorized: '1', charged: '0.03', chargedAtomic: '30000', outstanding: '0.03' },
        },
      ],
    },
  ])
  expect(body.grants[0].channels).toHaveLength(1)
  const all = await api.get(`/session-keys/${grant.sessionKey}/usage`, operatorApiKey)
  expect(all.body.grants[0].channels).toHaveLength(2)
})

describe('/settlements', () => {
  test('POST asks for one: 202, and again the same', async () => {
    const grant = await createGrant()
    await journal(grant, weather)
    const first = await api.post('/settlements', weather.key, { grantId: grant.grantId })
    expect(first).toMatchObject({ status: 202, body: { grantId: grant.grantId, state: 'requested' } })
    const again = await api.post('/settlements', weather.key, { grantId: grant.grantId })
    expect(again).toMatchObject({ status: 202, body: { id: first.body.id } })
  })

  test('POST where nothing is due, to this merchant: 409', async () => {
    const grant = await createGrant()
    await journal(grant, maps)
    const response = await api.post('/settlements', weather.key, { grantId: grant.grantId })
    expect(response).toMatchObject({ status: 409, body: { code: 'settlement.nothing_due' } })
  })

  test('POST for a grant that the merchant does not see: 404; for none at all: 400', async () => {
    const response = await api.post('/settlements', weather.key, { grantId: randomHex(32) })
    expect(response).toMatchObject({ status: 404, body: { code: 'grant.unknown' } })
    expect(await api.post('/settlements', weather.key, {})).toMatchObject({ status: 400 })
  })

  test('GET shows settlements with their claims, a merchant its own only: 200, 404', async () => {
    const grant = await createGrant()
    await journal(grant, weather)
    const claimed = await claimSettlement(database.db, {
      grantId: grant.grantId,
      trigger: 'request',
      leaseOwner: 'test',
      leaseMs: 60_000,
      now: new Date(),
    })
    if (!claimed) throw new Error('nothing was claimed')
    const list = await api.get(`/settlements?grantId=${grant.grantId}&state=pending`, weather.key)
    expect(list).toMatchObject({
      status: 200,
      body: { settlements: [{ id: claimed.settlement.id, state: 'pending' }] },
    })
    const one = await api.get(`/settlements/${claimed.settlement.id}`, weather.key)
    expect(one).toMatchObject({
      status: 200,
      body: {
        grantId: grant.grantId,
        items: [{ payee: weather.payee, amount: '0.02', amountAtomic: '20000', paid: null }],
      },
    })
    expect((await api.get(`/settlements?grantId=${grant.grantId}`, maps.key)).body.settlements).toEqual([])
    const unknown = { status: 404, body: { code: 'settlement.unknown' } }
    expect(await api.get(`/settlements/${claimed.settlement.id}`, maps.key)).toMatchObject(unknown)
    expect(await api.get('/settlements/stl_none', operatorApiKey)).toMatchObject(unknown)
  })
})
