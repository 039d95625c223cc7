import {
  listAudit,
  type NewIncident,
  openIncident,
  openOwnerSession,
  updateGrantStates,
  upsertAccountsFromChain,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionData } from 'viem'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
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
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
})
afterAll(() => database.drop())

type Grant = { grantId: Hex; account: Address; sessionKey: Address; shop: TestMerchant; token: string }

/** A grant at two new merchants, which the chain shows, and a session of its owner. */
async function arrangeGrant(): Promise<Grant & { other: TestMerchant }> {
  const [shop, other] = [await api.createMerchant('Shop'), await api.createMerchant('Other')]
  const account = randomAddress()
  const sessionKey = randomAddress()
  const terms = { sessionKey, totalLimit: '100', validUntil: 4_000_000_000 }
  const payees = [shop.payee, other.payee]
  const { status, body } = await api.post('/session-keys', shop.key, { account, terms, payees })
  expect(status).toBe(201)
  const { grantId } = body as { grantId: Hex }
  const again = await api.post('/session-keys', other.key, { account, packedTerms: body.packedTerms, payees })
  expect(again.status).toBe(200)
  await showOnChain({ grantId, account }, { status: 'active', accountFrozen: false, blockNumber: 100n })
  const now = new Date()
  const expiresAt = new Date(now.getTime() + 600_000)
  const session = await openOwnerSession(database.db, { account, nonce: randomHex(16).slice(2), now, expiresAt })
  return { grantId, account, sessionKey, shop, other, token: session?.token ?? '' }
}

async function showOnChain(
  { grantId, account }: Pick<Grant, 'grantId' | 'account'>,
  seen: { status: 'active' | 'frozen'; accountFrozen: boolean; blockNumber: bigint },
): Promise<void> {
  const { status, accountFrozen, blockNumber } = seen
  const settled = { settled: 0n, periodIndex: 0, periodSettled: 0n }
  await updateGrantStates(database.db, [{ grantId, status, ...settled, blockNumber }])
  const state = { accountFrozen, guardian: randomAddress(), epoch: 0n, blockNumber }
  const money = { balance: 1_000_000_000n, allowance: 500_000_000n }
  await upsertAccountsFromChain(database.db, [{ account, token: chain.token, ...money, ...state }])
}

async function arrangeIncident({ grantId, account, shop }: Grant, change: Partial<NewIncident> = {}) {
  const { incident } = await openIncident(database.db, {
    grantId,
    account,
    rule: 'calls.per_minute',
    ruleVersion: 1,
    action: 'freeze',
    severity: 'critical',
    ruleId: null,
    payee: shop.payee,
    requestId: randomHex(12),
    chargedAt: new Date(),
    inputs: { calls: '101' },
    explanation: 'It made 101 calls within a minute.',
    now: new Date(),
    ...change,
  })
  return incident
}

const unknown = { status: 404, body: { code: 'incident.unknown' } }

test('an incident is told with what was compared, what was done, and how far its stop is', async () => {
  const grant = await arrangeGrant()
  const incident = await arrangeIncident(grant)
  for (const [path, key] of [
    ['/incidents', operatorApiKey],
    ['/owner/incidents', grant.token],
  ] as const) {
    const { status, body } = await api.get(`${path}/${incident.id}`, key)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      id: incident.id,
      state: 'open',
      inputs: { calls: '101' },
      requestId: incident.requestId,
      stop: { kind: 'freeze', refusedAt: null, chainState: 'due', txHash: null },
    })
    expect(body.events).toEqual([
      {
        at: expect.any(String),
        kind: 'freeze',
        rule: 'calls.per_minute',
        ruleVersion: 1,
        inputs: { calls: '101' },
        explanation: 'The rule calls.per_minute, version 1, froze the grant: It made 101 calls within a minute.',
      },
    ])
    expect((await api.get(`${path}?grantId=${grant.grantId}`, key)).body.incidents).toHaveLength(1)
  }
})

test('lists are by grant, state and severity, newest first, page by page', async () => {
  const grant = await arrangeGrant()
  const first = await arrangeIncident(grant)
  const second = await arrangeIncident(grant, { rule: 'funds.low', action: 'alert', severity: 'warning' })
  const idsOf = async (query: string) => {
    const { body } = await api.get(`/incidents?grantId=${grant.grantId}&${query}`, operatorApiKey)
    return { ids: body.incidents.map(({ id }: { id: string }) => id), next: body.nextCursor }
  }
  const page = await idsOf('limit=1')
  expect(page.ids).toEqual([second.id])
  expect(await idsOf(`limit=1&cursor=${page.next}`)).toEqual({ ids: [first.id], next: undefined })
  expect((await idsOf('severity=critical')).ids).toEqual([first.id])
  expect((await idsOf('state=closed')).ids).toEqual([])
  const wrong = await api.get('/incidents?state=gone', operatorApiKey)
  expect(wrong).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
})

test('a merchant sees that a grant which pays them was stopped, and nothing of what it did elsewhere', async () => {
  const grant = await arrangeGrant()
  const incident = await arrangeIncident(grant)
  const told = { explanation: 'The grant was stopped by the rule calls.per_minute.', inputs: null, events: [] }
  const { body } = await api.get(`/incidents/${incident.id}`, grant.shop.key)
  expect(body).toMatchObject({ ...told, payee: grant.shop.payee, requestId: incident.requestId, findings: null })
  const other = await api.get(`/incidents/${incident.id}`, grant.other.key)
  expect(other.body).toMatchObject({ ...told, payee: null, requestId: null, chargedAt: null })
  expect(other.body.stop).toMatchObject({ kind: 'freeze', chainState: 'due' })

  const stranger = await api.createMerchant('Stranger')
  expect(await api.get(`/incidents/${incident.id}`, stranger.key)).toMatchObject(unknown)
  expect((await api.get('/incidents', stranger.key)).body.incidents).toEqual([])
  for (const change of ['acknowledge', 'close']) {
    const refused = await api.post(`/incidents/${incident.id}/${change}`, grant.shop.key)
    expect(refused).toMatchObject({ status: 403, body: { code: 'operator.required' } })
  }
})

test('operator and owner acknowledge and close, once and for all, with an entry of the audit for what changed', async () => {
  const grant = await arrangeGrant()
  const { id } = await arrangeIncident(grant)
  const actor = `owner:${grant.account.toLowerCase()}`
  for (let time = 0; time < 2; time++) {
    const seen = await api.post(`/owner/incidents/${id}/acknowledge`, grant.token, { note: 'It was me.' })
    expect(seen).toMatchObject({ status: 200, body: { state: 'acknowledged', acknowledgedBy: actor } })
  }
  for (let time = 0; time < 2; time++) {
    const closed = await api.post(`/incidents/${id}/close`, operatorApiKey)
    expect(closed).toMatchObject({ status: 200, body: { state: 'closed', closedAt: expect.any(String) } })
    expect(closed.body.events.map(({ kind }: { kind: string }) => kind)).toEqual(['freeze', 'acknowledged', 'closed'])
  }
  const { items } = await listAudit(database.db, { subject: id })
  expect(items).toMatchObject([
    { actor: 'operator', action: 'incident_close', before: { state: 'acknowledged' }, after: { state: 'closed' } },
    { actor, action: 'incident_acknowledge', note: 'It was me.', before: { state: 'open' } },
  ])
  const late = await api.post(`/owner/incidents/${id}/acknowledge`, grant.token)
  expect(late).toMatchObject({ status: 409, body: { code: 'incident.over' } })
})

test("nobody finds another owner's incident, or one that is none", async () => {
  const incident = await arrangeIncident(await arrangeGrant())
  const { token } = await arrangeGrant()
  for (const path of [incident.id, 'nonsense', `inc_${'0'.repeat(32)}`]) {
    expect(await api.get(`/owner/incidents/${path}`, token)).toMatchObject(unknown)
    expect(await api.post(`/owner/incidents/${path}/close`, token)).toMatchObject(unknown)
  }
  expect((await api.get('/owner/incidents', token)).body.incidents).toEqual([])
  expect((await api.get(`/incidents/${incident.id}`, operatorApiKey)).body.state).toBe('open')
})

test("an owner's freeze can go to the chain as well, as one incident however often it is asked for", async () => {
  const { grantId, token } = await arrangeGrant()
  const path = `/owner/grants/${grantId}/freeze`
  const offChain = await api.post(path, token, { reason: 'A walk.' })
  expect(offChain.body).toMatchObject({ status: 'frozen', heldBy: [{ by: 'owner', reason: 'A walk.' }], toSign: [] })
  expect(offChain.body.incidentId).toBeUndefined()
  const asked = await api.post(path, token, { reason: 'Lost the laptop.', onChain: true })
  expect((await api.post(path, token, { onChain: true })).body.incidentId).toBe(asked.body.incidentId)
  const { body } = await api.get(`/owner/incidents/${asked.body.incidentId}`, token)
  expect(body).toMatchObject({
    rule: 'owner.asked',
    action: 'freeze',
    payee: null,
    explanation: 'The owner asked for it: Lost the laptop.',
    stop: { kind: 'freeze', chainState: 'due' },
    findings: 2,
  })
})

test('an unfreeze says who holds the grant still, and what its account has to sign where the chain does', async () => {
  const grant = await arrangeGrant()
  const { grantId, token, sessionKey, shop } = grant
  await api.post(`/owner/grants/${grantId}/freeze`, token)
  const byKey = `/session-keys/${sessionKey}/freeze?grantId=${grantId}`
  await api.post(byKey, operatorApiKey, { reason: 'sentinel: calls.per_minute', holder: 'sentinel' })
  await api.post(byKey, shop.key, { reason: 'A refund is open.' })
  const module = chain.module
  const unfreeze = async (): Promise<{ heldBy: object[]; toSign: { to: Address; value: string; data: Hex }[] }> =>
    (await api.post(`/owner/grants/${grantId}/unfreeze`, token)).body

  const first = await unfreeze()
  expect(first.toSign).toEqual([])
  expect(first.heldBy).toHaveLength(2)
  expect(first.heldBy).toContainEqual(expect.objectContaining({ by: 'sentinel', merchantId: null, state: 'frozen' }))
  expect(first.heldBy).toContainEqual(expect.objectContaining({ by: 'merchant', merchantId: shop.id }))

  await showOnChain(grant, { status: 'frozen', accountFrozen: true, blockNumber: 101n })
  const second = await unfreeze()
  expect(second.heldBy).toHaveLength(4)
  expect(second.toSign).toMatchObject([
    { to: module, value: '0' },
    { to: module, value: '0' },
  ])
  const calls = second.toSign.map(({ data }) => decodeFunctionData({ abi: sessionKeyValidatorAbi, data }))
  expect(calls).toEqual([{ functionName: 'unfreeze', args: [grantId] }, { functionName: 'unfreezeAll' }])
})
