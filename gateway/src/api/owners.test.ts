import {
  listAudit,
  maxOwnerSessions,
  openOwnerSession,
  updateGrantStates,
  upsertAccountsFromChain,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts'
import { createSiweMessage } from 'viem/siwe'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { ChainUnreachableError } from '../owners/verifyOwnerSignature.ts'
import { chain, consoleOrigin, createTestApi, operatorApiKey, randomAddress, type TestApi } from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let owner: PrivateKeyAccount
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
})
afterAll(() => database.drop())
beforeEach(() => {
  owner = privateKeyToAccount(generatePrivateKey())
})

type Message = Parameters<typeof createSiweMessage>[0]

/** Asks for a nonce and signs a message with it. */
async function sign(of: { with?: TestApi; by?: PrivateKeyAccount; change?: Partial<Message> } = {}) {
  const { body } = await (of.with ?? api).post('/owners/nonce', '')
  const message = createSiweMessage({
    address: owner.address,
    chainId: body.chainId,
    domain: new URL(consoleOrigin).host,
    nonce: body.nonce,
    statement: body.statement,
    uri: consoleOrigin,
    version: '1',
    ...of.change,
  })
  return { message, signature: await (of.by ?? owner).signMessage({ message }) }
}

async function signIn(change: Partial<Message> = {}): Promise<string> {
  const { status, body } = await api.post('/owners/session', '', await sign({ change }))
  expect(status).toBe(201)
  return body.token
}

/** A grant of the account at a new merchant, which the chain shows. */
async function arrangeGrant(account: Address): Promise<Hex> {
  const { payee, key } = await api.createMerchant('Shop')
  const terms = { sessionKey: randomAddress(), totalLimit: '100', validUntil: 4_000_000_000 }
  const { status, body } = await api.post('/session-keys', key, { account, terms, payees: [payee] })
  expect(status).toBe(201)
  const { grantId } = body as { grantId: Hex }
  const blockNumber = 100n
  const settled = { settled: 0n, periodIndex: 0, periodSettled: 0n }
  await updateGrantStates(database.db, [{ grantId, status: 'active', ...settled, blockNumber }])
  const state = { accountFrozen: false, guardian: randomAddress(), epoch: 0n, blockNumber }
  const money = { balance: 1_000_000_000n, allowance: 500_000_000n }
  await upsertAccountsFromChain(database.db, [{ account, token: chain.token, ...money, ...state }])
  return grantId
}

/** Newest first. */
const audited = async (limit: number) => (await listAudit(database.db, { limit })).items

describe('signing in', () => {
  test('opens a session that is shown once, stored as a hash, audited, and ends when its owner says so', async () => {
    const before = Date.now()
    const { status, body, headers } = await api.post('/owners/session', '', await sign())
    expect(status).toBe(201)
    expect(headers.get('cache-control')).toBe('no-store')
    expect(body).toEqual({
      id: expect.stringMatching(/^ows_[0-9a-f]{32}$/),
      account: owner.address,
      token: expect.stringMatching(/^pbo_[A-Za-z0-9_-]{43}$/),
      expiresAt: expect.any(String),
    })
    expect(Date.parse(body.expiresAt) - before).toBeGreaterThanOrEqual(3_600_000)
    const stored = JSON.stringify(await database.query('select * from owner_session'))
    expect(stored).not.toContain(body.token.slice(4))
    expect((await api.get('/owner/session', body.token)).body).toEqual({
      id: body.id,
      account: owner.address,
      expiresAt: body.expiresAt,
    })
    expect(await audited(1)).toMatchObject([
      { actor: `owner:${owner.address.toLowerCase()}`, action: 'owner_sign_in', outcome: 'done', subject: body.id },
    ])
    expect(await api.delete('/owners/session', body.token)).toMatchObject({ status: 204 })
    for (const again of [
      await api.get('/owner/session', body.token),
      await api.delete('/owners/session', body.token),
    ]) {
      expect(again).toMatchObject({ status: 401, body: { code: 'owner.session_invalid' } })
    }
  })

  test('says what to sign', async () => {
    const { status, body } = await api.post('/owners/nonce', '')
    expect(status).toBe(201)
    expect(body).toMatchObject({ chainId: chain.chainId, version: '1', origins: [consoleOrigin] })
    expect(Date.parse(body.expiresAt)).toBeGreaterThan(Date.now())
  })

  test('by somebody else is refused and audited', async () => {
    const stranger = privateKeyToAccount(generatePrivateKey())
    const refused = await api.post('/owners/session', '', await sign({ by: stranger }))
    expect(refused).toMatchObject({ status: 401, body: { code: 'owner.signature_invalid' } })
    const entry = { actor: 'sign-in', action: 'owner_sign_in', outcome: 'refused', subject: owner.address }
    expect(await audited(1)).toMatchObject([{ ...entry, errorCode: 'owner.signature_invalid' }])
  })

  test('for another page, chain or time is refused and audited', async () => {
    const changes: Partial<Message>[] = [
      { domain: 'evil.example.com', uri: 'https://evil.example.com' },
      { chainId: 1 },
      { issuedAt: new Date(Date.now() - 3_600_000) },
      { expirationTime: new Date(Date.now() - 1) },
    ]
    for (const change of changes) {
      const refused = await api.post('/owners/session', '', await sign({ change }))
      expect(refused).toMatchObject({ status: 400, body: { code: 'owner.message_invalid' } })
      expect(await audited(1)).toMatchObject([{ outcome: 'refused', errorCode: 'owner.message_invalid' }])
    }
  })

  test('works once with a nonce, however many try at once, and a failed try does not use it up', async () => {
    const signed = await sign()
    const stranger = await privateKeyToAccount(generatePrivateKey()).signMessage(signed)
    expect(await api.post('/owners/session', '', { ...signed, signature: stranger })).toMatchObject({ status: 401 })
    const tries = await Promise.all(Array.from({ length: 5 }, () => api.post('/owners/session', '', signed)))
    expect(tries.filter(({ status }) => status === 201)).toHaveLength(1)
    const others = tries.filter(({ status }) => status !== 201)
    for (const other of others) expect(other).toMatchObject({ status: 401, body: { code: 'owner.nonce_invalid' } })
    expect(await audited(2)).toContainEqual(expect.objectContaining({ errorCode: 'owner.nonce_invalid' }))
    // Also when its session has ended.
    const opened = tries.find(({ status }) => status === 201)
    await api.delete('/owners/session', opened?.body.token)
    expect(await api.post('/owners/session', '', signed)).toMatchObject({ status: 401 })
  })

  test.each([
    ['one that we did not issue', 'abcdefgh12345678'],
    ['one of another deployment', undefined],
  ])('with %s as nonce is refused', async (_, given) => {
    const other = createTestApi(database.db, { signIn: { secret: 'another secret' } })
    const nonce = given ?? (await other.post('/owners/nonce', '')).body.nonce
    const refused = await api.post('/owners/session', '', await sign({ change: { nonce } }))
    expect(refused).toMatchObject({ status: 401, body: { code: 'owner.nonce_invalid' } })
  })

  test('with an expired nonce is refused', async () => {
    const early = createTestApi(database.db, { signIn: { clock: () => Date.now() - 600_001 } })
    const { nonce } = (await early.post('/owners/nonce', '')).body
    const refused = await api.post('/owners/session', '', await sign({ change: { nonce } }))
    expect(refused).toMatchObject({ status: 401, body: { detail: 'Its nonce has expired.' } })
  })

  test.each([
    [{}],
    [{ message: 'x' }],
    [{ message: 'x', signature: 'no hex' }],
    [{ message: 'x', signature: `0x${'00'.repeat(9_000)}` }],
    [{ message: 'x'.repeat(3_000), signature: '0x00' }],
    [{ message: 'x', signature: '0x00', account: 'more' }],
  ])('with a body that is none is refused: %#', async (body) => {
    const refused = await api.post('/owners/session', '', body)
    expect(refused).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
  })

  test('waits for the chain, and its nonce with it', async () => {
    let isGone = true
    const flaky = createTestApi(database.db, {
      signIn: {
        verifySignature: async () => {
          if (isGone) throw new ChainUnreachableError('The chain does not answer.')
          return true
        },
      },
    })
    const signed = await sign({ with: flaky })
    const later = await flaky.post('/owners/session', '', signed)
    expect(later).toMatchObject({ status: 503, body: { code: 'owner.chain_unreachable' } })
    expect(later.headers.get('retry-after')).toBe('2')
    isGone = false
    expect(await flaky.post('/owners/session', '', signed)).toMatchObject({ status: 201 })
  })

  test('ends when the message does, if that is earlier', async () => {
    const expirationTime = new Date(Date.now() + 60_000)
    const token = await signIn({ expirationTime })
    expect((await api.get('/owner/session', token)).body.expiresAt).toBe(expirationTime.toISOString())
  })

  test('is limited by client and by account, and refused then with the time to wait', async () => {
    const limited = createTestApi(database.db, { signIn: { perMinute: 3 } })
    for (let count = 0; count < 3; count++) {
      expect(await limited.post('/owners/nonce', '')).toMatchObject({ status: 201 })
    }
    const refused = await limited.post('/owners/nonce', '')
    expect(refused).toMatchObject({ status: 429, body: { code: 'owner.rate_limited' } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)

    let client = 0
    const spread = createTestApi(database.db, { signIn: { perMinute: 3, clientOf: () => `client ${client++}` } })
    const stranger = privateKeyToAccount(generatePrivateKey())
    const tries = []
    for (let count = 0; count < 4; count++) {
      tries.push(await spread.post('/owners/session', '', await sign({ with: spread, by: stranger })))
    }
    expect(tries.map(({ status }) => status)).toEqual([401, 401, 401, 429])
  })

  test('refusals are audited up to a bound', async () => {
    await database.query(`delete from audit_entry where actor = 'sign-in'`)
    for (let count = 0; count < 65; count++) {
      await api.post('/owners/session', '', { message: 'x', signature: '0x00' })
    }
    const [row] = await database.query(`select count(*)::integer as entries from audit_entry where actor = 'sign-in'`)
    expect(row).toEqual({ entries: 60 })
  })

  test('again and again leaves a bounded number of sessions open: the newest', async () => {
    const account = owner.address
    const now = new Date()
    const tokens: string[] = []
    for (let count = 0; count < maxOwnerSessions + 2; count++) {
      const nonce = generatePrivateKey().slice(2)
      const expiresAt = new Date(now.getTime() + 60_000)
      const session = await openOwnerSession(database.db, { account, nonce, now, expiresAt })
      tokens.push(session?.token ?? '')
    }
    const statuses = await Promise.all(tokens.map(async (token) => (await api.get('/owner/session', token)).status))
    expect(statuses).toEqual([401, 401, ...Array(maxOwnerSessions).fill(200)])
  })
})

test.each([
  ['none', ''],
  ['an API key', operatorApiKey],
  ['one that was made up', `pbo_${'A'.repeat(43)}`],
])('without a session (%s) nothing is shown, and the try is audited', async (_, token) => {
  for (const path of ['/owner/grants', '/owner/charges', '/owner/webhooks', '/owner/anything']) {
    const refused = await api.get(path, token)
    expect(refused).toMatchObject({ status: 401, body: { code: 'owner.session_invalid' } })
    expect(refused.headers.get('www-authenticate')).toBe('Bearer')
  }
  const entry = { action: 'owner_request', outcome: 'refused', subject: 'GET /api/owner/webhooks' }
  expect(await audited(2)).toContainEqual(expect.objectContaining(entry))
})

test('a session opens nothing of the management API, and what there is not is not found', async () => {
  const token = await signIn()
  for (const path of ['/merchants', '/grants', '/webhooks', '/audit']) {
    expect(await api.get(path, token)).toMatchObject({ status: 401, body: { code: 'api_key.invalid' } })
  }
  for (const path of ['/owner/anything', '/owners/anything']) {
    expect(await api.get(path, token)).toMatchObject({ status: 404, body: { code: 'route.unknown' } })
  }
})

describe('with a session', () => {
  let token: string
  let grantId: Hex
  let theirs: Hex
  beforeEach(async () => {
    grantId = await arrangeGrant(owner.address)
    theirs = await arrangeGrant(randomAddress())
    token = await signIn()
  })

  test('an owner pages through their grants and sees what stops each', async () => {
    for (let count = 0; count < 2; count++) await arrangeGrant(owner.address)
    const first = await api.get('/owner/grants?limit=2', token)
    const rest = await api.get(`/owner/grants?limit=2&cursor=${first.body.nextCursor}`, token)
    const seen = [...first.body.grants, ...rest.body.grants]
    expect(seen).toHaveLength(3)
    expect(seen.at(-1)).toMatchObject({
      grantId,
      account: owner.address,
      status: 'active',
      controls: [],
      ownerFreeze: null,
      funds: { allowanceAtomic: '500000000' },
    })
    expect(rest.body.nextCursor).toBeUndefined()
    const frozen = await api.post(`/session-keys/${seen.at(-1).sessionKey}/freeze`, operatorApiKey, {
      reason: 'A check.',
    })
    expect(frozen.status).toBe(200)
    const { body } = await api.get(`/owner/grants/${grantId}`, token)
    expect(body).toMatchObject({ status: 'frozen', note: 'Frozen off-chain by the operator.' })
    expect(body.controls).toEqual([
      { by: 'operator', holder: 'operator', state: 'frozen', reason: 'A check.', createdAt: expect.any(String) },
    ])
    // Their own is another one.
    expect((await api.post(`/owner/grants/${grantId}/unfreeze`, token)).body.status).toBe('frozen')
  })

  test('a freeze is theirs to set and to lift, shows to the operator, and is audited with its reason', async () => {
    const frozen = await api.post(`/owner/grants/${grantId}/freeze`, token, { reason: 'Lost it.' })
    const freeze = { reason: 'Lost it.', createdAt: expect.any(String) }
    expect(frozen).toMatchObject({
      status: 200,
      body: { status: 'frozen', onChainStatus: 'active', ownerFreeze: freeze },
    })
    const { sessionKey } = frozen.body
    const [shown] = (await api.get(`/session-keys/${sessionKey}`, operatorApiKey)).body.grants
    expect(shown).toMatchObject({ status: 'frozen', note: 'Frozen off-chain by its owner.' })
    // Somebody else's unfreeze is of their own freeze.
    await api.post(`/session-keys/${sessionKey}/unfreeze`, operatorApiKey)
    expect((await api.get(`/owner/grants/${grantId}`, token)).body.status).toBe('frozen')
    const open = await api.post(`/owner/grants/${grantId}/unfreeze`, token, { reason: 'Found it.' })
    expect(open).toMatchObject({ status: 200, body: { status: 'active', ownerFreeze: null } })
    const actor = `owner:${owner.address.toLowerCase()}`
    const { items } = await listAudit(database.db, { subject: grantId })
    expect(items.filter(({ action }) => action.startsWith('owner_'))).toMatchObject([
      { actor, action: 'owner_unfreeze', outcome: 'done', note: 'Found it.' },
      { actor, action: 'owner_freeze', outcome: 'done', note: 'Lost it.', after: { ownerFrozen: true } },
    ])
  })

  test("somebody else's grant is not found, not changed, and the try is audited", async () => {
    for (const path of [`/owner/grants/${theirs}`, '/owner/grants/nonsense', `/owner/grants/0x${'00'.repeat(32)}`]) {
      expect(await api.get(path, token)).toMatchObject({ status: 404, body: { code: 'grant.unknown' } })
    }
    for (const change of ['freeze', 'unfreeze']) {
      const refused = await api.post(`/owner/grants/${theirs}/${change}`, token)
      expect(refused).toMatchObject({ status: 404, body: { code: 'grant.unknown' } })
      const entry = { action: `owner_${change}`, outcome: 'refused', subject: theirs, errorCode: 'grant.unknown' }
      expect(await audited(1)).toMatchObject([entry])
    }
    expect(await database.query('select * from owner_freeze where grant_id = $1', [theirs])).toEqual([])
  })

  test('changes are limited', async () => {
    const limited = createTestApi(database.db, { signIn: { perMinute: 2 } })
    const statuses = []
    for (const change of ['freeze', 'unfreeze', 'freeze']) {
      statuses.push((await limited.post(`/owner/grants/${grantId}/${change}`, token)).status)
    }
    expect(statuses).toEqual([200, 200, 429])
  })

  test('what becomes of accepted vouchers is the owner’s to say, for all grants and for one, and of nobody else’s', async () => {
    const grantId = await arrangeGrant(owner.address)
    const token = await signIn()
    expect(await api.get('/owner/voucher-policy', token)).toMatchObject({ body: { account: null, grants: [] } })
    expect(await api.put('/owner/voucher-policy', token, { policy: 'settle' })).toMatchObject({ status: 200 })
    const path = `/owner/grants/${grantId}/voucher-policy` as const
    expect(await api.put(path, token, { policy: 'hold' })).toMatchObject({
      status: 200,
      body: { account: 'settle', grants: [{ grantId, policy: 'hold' }] },
    })
    expect(await audited(1)).toMatchObject([{ action: 'voucher_policy', subject: grantId, note: 'hold' }])
    expect(await api.put(path, token, { policy: null })).toMatchObject({ body: { account: 'settle', grants: [] } })
    expect(await api.put(path, token, { policy: 'keep' })).toMatchObject({ status: 400 })
    expect(await api.put('/owner/grants/0x12/voucher-policy', token, { policy: 'hold' })).toMatchObject({ status: 404 })

    owner = privateKeyToAccount(generatePrivateKey())
    const stranger = await signIn()
    expect(await api.put(path, stranger, { policy: 'settle' })).toMatchObject({
      status: 404,
      body: { code: 'grant.unknown' },
    })
    expect(await api.get('/owner/voucher-policy', stranger)).toMatchObject({ body: { account: null, grants: [] } })
  })

  test('an owner has endpoints of webhooks of their own, for events to owners', async () => {
    const url = 'https://hooks.example.com/me'
    const events = ['grant.created', 'session_key.registered']
    const made = await api.post('/owner/webhooks', token, { url, events })
    expect(made).toMatchObject({ status: 201, body: { merchantId: null, account: owner.address, events } })
    expect(made.body.secret).toMatch(/^whsec_/)
    const path = `/owner/webhooks/${made.body.id}`
    expect((await api.get('/owner/webhooks', token)).body.webhooks).toHaveLength(1)
    expect(await api.patch(path, token, { enabled: false })).toMatchObject({
      status: 200,
      body: { state: 'disabled', disabledReason: 'owner' },
    })
    expect((await api.patch(path, token, { enabled: true })).body.state).toBe('enabled')
    expect(await api.post(`${path}/test`, token)).toMatchObject({ status: 202 })
    const { deliveries } = (await api.get(`${path}/deliveries`, token)).body
    expect(deliveries).toMatchObject([{ type: 'webhook_endpoint.test', state: 'pending' }])
    expect(await api.get(`${path}/deliveries/${deliveries[0].id}`, token)).toMatchObject({ status: 200 })
    expect(await api.post(`${path}/rotate-secret`, token)).toMatchObject({ status: 200 })

    for (const more of [{ merchantId: `mer_${'0'.repeat(32)}` }, { events: ['usage.quarantined'] }]) {
      expect([400, 404]).toContain((await api.post('/owner/webhooks', token, { url, ...more })).status)
    }
    const inside = await api.post('/owner/webhooks', token, { url: 'https://127.0.0.1/' })
    expect(inside).toMatchObject({ status: 422, body: { code: 'webhook.url_refused' } })
    expect(await audited(1)).toMatchObject([
      { actor: `owner:${owner.address.toLowerCase()}`, errorCode: 'webhook.url_refused' },
    ])

    const shop = await api.createMerchant('Shop')
    expect(await api.get(`/webhooks/${made.body.id}`, shop.key)).toMatchObject({ status: 404 })
    expect((await api.get('/webhooks', shop.key)).body.webhooks).toEqual([])
    owner = privateKeyToAccount(generatePrivateKey())
    const stranger = await signIn()
    for (const answer of [
      await api.get(path, stranger),
      await api.patch(path, stranger, { enabled: false }),
      await api.delete(path, stranger),
      await api.post(`${path}/rotate-secret`, stranger),
      await api.post(`${path}/test`, stranger),
    ]) {
      expect(answer).toMatchObject({ status: 404, body: { code: 'webhook.unknown' } })
    }
    expect(await api.get(`/webhooks/${made.body.id}`, operatorApiKey)).toMatchObject({ status: 200 })
    expect(await api.delete(path, token)).toMatchObject({ status: 204 })
  })
})
