import { appendCharges, claimSettlement, getSettlement, listAudit, markDead } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type GrantTerms, grantIdOf, type Hex, packTerms, payeeRootOf } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import {
  chain,
  createTestApi,
  operatorApiKey,
  randomAddress,
  randomHex,
  type TestApi,
  type TestMerchant,
} from './testing/testApi.ts'

// What operators do through the management API, and what is refused to others.

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

const note = 'The owner signed again.'
const nobody = `stl_${'0'.repeat(32)}`

/** A registered grant to the merchant that owes 10 USDC. */
async function arrangeOwing(): Promise<{ grantId: Hex }> {
  const nowSeconds = Math.floor(Date.now() / 1_000)
  const terms: GrantTerms = {
    sessionKey: randomAddress(),
    settler: chain.settler,
    token: chain.token,
    totalLimit: 100_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: nowSeconds - 60,
    validUntil: nowSeconds + 86_400,
    payeeRoot: payeeRootOf([weather.payee]),
    source: 'allowance',
    salt: randomHex(24),
  }
  const account = randomAddress()
  const registration = { account, packedTerms: packTerms(terms), payees: [weather.payee] }
  await api.post('/session-keys', weather.key, registration)
  const grantId = grantIdOf({ chainId: chain.chainId, module: chain.module, account, epoch: 0n }, terms)
  await appendCharges(database.db, [
    {
      eventId: randomHex(8),
      occurredAtMs: Date.now(),
      account,
      grantId,
      payee: weather.payee,
      merchantId: weather.id,
      serviceId: 'svc_any',
      requestId: randomHex(16),
      fingerprint: randomHex(32),
      amount: 10_000_000n,
      cumulativeAmount: 10_000_000n,
      signature: randomHex(65),
    },
  ])
  return { grantId }
}

async function arrangeDead(): Promise<string> {
  const { grantId } = await arrangeOwing()
  const lease = { leaseOwner: 'one', leaseMs: 60_000, now: new Date() }
  const work = await claimSettlement(database.db, { grantId, trigger: 'threshold', ...lease })
  const id = work?.settlement.id ?? ''
  await markDead(database.db, {
    id,
    owner: 'one',
    reason: 'voucher_invalid',
    errorCode: 'voucher.signature',
    errorMessage: 'not signed',
  })
  return id
}

async function auditOf(subject: string) {
  return (await listAudit(database.db, { subject })).items
}

describe('a dead letter', () => {
  test('is listed, shown, and retried by the operator, who is named in the audit', async () => {
    const id = await arrangeDead()
    const listed = await api.get('/settlements?state=dead&writtenOff=false', operatorApiKey)
    expect(listed.body.settlements.map((one: { id: string }) => one.id)).toContain(id)
    expect((await api.get(`/settlements/${id}`, operatorApiKey)).body).toMatchObject({
      state: 'dead',
      errorCode: 'voucher.signature',
      writtenOffAt: null,
      items: [{ amountAtomic: '10000000' }],
    })
    const { body: key } = await api.post('/api-keys', operatorApiKey, { name: 'night shift' })
    const retried = await api.post(`/settlements/${id}/retry`, key.key, { note })
    expect(retried).toMatchObject({ status: 200, body: { id, state: 'failed', attempts: 0, items: [{}] } })
    const { body } = await api.get(`/audit?subject=${id}`, operatorApiKey)
    expect(body.entries).toMatchObject([
      { actor: key.id, action: 'settlement_retry', outcome: 'done', note, before: { state: 'dead' } },
    ])
  })

  test('is written off for a reason of the list, once, and then neither retried nor listed as waiting', async () => {
    const id = await arrangeDead()
    const path = `/settlements/${id}/write-off`
    for (const wrong of [
      { reason: 'other' },
      { note },
      { reason: 'bored', note },
      { reason: 'other', note: '\u0000' },
    ]) {
      expect(await api.post(path, operatorApiKey, wrong)).toMatchObject({
        status: 400,
        body: { code: 'request.invalid' },
      })
    }
    const written = await api.post(path, operatorApiKey, { reason: 'agreed', note })
    expect(written).toMatchObject({ status: 200, body: { state: 'dead', writtenOffAt: expect.any(String) } })
    for (const [route, body] of [
      ['retry', { note }],
      ['write-off', { reason: 'agreed', note }],
    ] as const) {
      const again = await api.post(`/settlements/${id}/${route}`, operatorApiKey, body)
      expect(again).toMatchObject({ status: 409, body: { code: 'settlement.not_dead' } })
      expect(again.body.detail).toContain('written off at')
    }
    const waiting = await api.get('/settlements?state=dead&writtenOff=false', operatorApiKey)
    expect(waiting.body.settlements.map((one: { id: string }) => one.id)).not.toContain(id)
    expect(await auditOf(id)).toHaveLength(1)
  })

  test('that does not exist is neither', async () => {
    for (const id of [nobody, 'stl_1', "' or 1"]) {
      const answer = await api.post(`/settlements/${encodeURIComponent(id)}/retry`, operatorApiKey, { note })
      expect(answer).toMatchObject({ status: 404, body: { code: 'settlement.unknown' } })
    }
  })
})

describe('what is refused changes nothing and is audited', () => {
  test("a merchant's key on what is the operator's", async () => {
    const id = await arrangeDead()
    const calls = [
      ['post', `/settlements/${id}/retry`, { note }],
      ['post', `/settlements/${id}/write-off`, { reason: 'agreed', note }],
      ['post', '/reconciliations', {}],
      ['get', '/reconciliations', undefined],
      ['get', '/audit', undefined],
    ] as const
    for (const [method, path, body] of calls) {
      const answer = await (method === 'post' ? api.post(path, weather.key, body) : api.get(path, weather.key))
      expect(answer, path).toMatchObject({ status: 403, body: { code: 'operator.required' } })
      const [entry] = await auditOf(`${method.toUpperCase()} /api${path}`)
      expect(entry, path).toMatchObject({ actor: weather.keyId, outcome: 'refused', errorCode: 'operator.required' })
    }
    expect(await getSettlement(database.db, id)).toMatchObject({ state: 'dead', writtenOffAt: null })
    expect(await database.query('select from reconciliation')).toEqual([])
  })

  test('a key that is none', async () => {
    const id = await arrangeDead()
    const answer = await api.post(`/settlements/${id}/retry`, `pb_${'x'.repeat(43)}`, { note })
    expect(answer).toMatchObject({ status: 401, body: { code: 'api_key.invalid' } })
    expect(await auditOf(`POST /api/settlements/${id}/retry`)).toMatchObject([
      { actor: 'unknown', action: 'api_request', outcome: 'refused', errorCode: 'api_key.invalid', after: null },
    ])
    expect(await getSettlement(database.db, id)).toMatchObject({ state: 'dead' })
  })

  test("a settlement of somebody else's grant", async () => {
    const { grantId } = await arrangeOwing()
    const answer = await api.post('/settlements', maps.key, { grantId })
    expect(answer).toMatchObject({ status: 404, body: { code: 'grant.unknown' } })
    expect((await auditOf(grantId)).filter(({ actor }) => actor === maps.keyId)).toMatchObject([
      { actor: maps.keyId, action: 'settlement_request', outcome: 'refused', errorCode: 'grant.unknown' },
    ])
    expect(await database.query('select from settlement_request where grant_id = $1', [grantId])).toEqual([])
  })
})

describe('a reconciliation', () => {
  test('is asked for by the operator, for a grant that exists, with an audit entry', async () => {
    const { grantId } = await arrangeOwing()
    const asked = await api.post('/reconciliations', operatorApiKey, { grantId })
    expect(asked).toMatchObject({ status: 202, body: { state: 'requested', grantId, trigger: 'request' } })
    const { id } = asked.body
    expect(asked.headers.get('location')).toBe(`/api/reconciliations/${id}`)
    const shown = await api.get(`/reconciliations/${id}`, operatorApiKey)
    expect(shown).toMatchObject({ status: 200, body: { id, found: [], differences: null } })
    expect(JSON.stringify(shown.body)).not.toContain('lease')
    expect(await auditOf(id)).toMatchObject([
      { actor: 'operator', action: 'reconciliation_request', after: { grantId } },
    ])
    const { body } = await api.get('/reconciliations', operatorApiKey)
    expect(body.reconciliations.map((one: { id: string }) => one.id)).toContain(id)
  })

  test('of what does not exist is not', async () => {
    expect(await api.post('/reconciliations', operatorApiKey, { grantId: randomHex(32) })).toMatchObject({
      status: 404,
      body: { code: 'grant.unknown' },
    })
    for (const id of [`rec_${'0'.repeat(32)}`, 'rec_1']) {
      expect(await api.get(`/reconciliations/${id}`, operatorApiKey)).toMatchObject({
        status: 404,
        body: { code: 'reconciliation.unknown' },
      })
    }
  })
})
