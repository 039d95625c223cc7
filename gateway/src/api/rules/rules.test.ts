import {
  type Db,
  finishDryRun,
  leaseDryRun,
  listAudit,
  listControls,
  listDueRuleHolds,
  openHoldingIncident,
  openOwnerSession,
  updateGrantStates,
  upsertAccountsFromChain,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { chain, createTestApi, operatorApiKey, randomAddress, randomHex, type TestApi } from '../testing/testApi.ts'

let database: TestDatabase
let api: TestApi
let account: Address
let token: string
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
})
afterAll(() => database.drop())
beforeEach(async () => {
  account = randomAddress()
  token = await signIn(database.db, account)
})

async function signIn(db: Db, of: Address): Promise<string> {
  const now = new Date()
  const expiresAt = new Date(now.getTime() + 3_600_000)
  const session = await openOwnerSession(db, { account: of, nonce: randomHex(12), now, expiresAt })
  if (!session) throw new Error('The nonce was used before.')
  return session.token
}

const nights = {
  name: 'Nights',
  expression: 'hour < 6 && sum("1h") > 20',
  action: 'block',
  blockSeconds: 60,
} as const
const day = { from: '2026-01-01T00:00:00Z', until: '2026-01-02T00:00:00Z' }

describe('rules', () => {
  test('of an owner are written, read, changed, live, off and deleted, and every change is audited', async () => {
    const created = await api.post('/owner/rules', token, nights)
    expect(created).toMatchObject({
      status: 201,
      body: { ...nights, scope: {}, severity: 'critical', state: 'draft', version: 1, failed: false, dryRun: null },
    })
    expect(created.body).not.toHaveProperty('account')
    const path = `/owner/rules/${created.body.id}`
    expect((await api.get(path, token)).body).toEqual(created.body)
    expect((await api.get('/owner/rules', token)).body.rules).toMatchObject([{ id: created.body.id }])

    const changed = await api.patch(path, token, { action: 'freeze', severity: 'warning' })
    expect(changed.body).toMatchObject({
      version: 2,
      action: 'freeze',
      blockSeconds: null,
      expression: nights.expression,
    })
    expect((await api.post(`${path}/live`, token)).body).toMatchObject({
      state: 'live',
      dryRun: null,
      warning: 'This version went live without a dry run.',
    })
    expect((await api.post(`${path}/off`, token)).body).toMatchObject({ state: 'off' })
    const { body } = await api.get(`${path}/versions`, token)
    expect(body.versions).toMatchObject([
      { version: 2, action: 'freeze', actor: `owner:${account.toLowerCase()}` },
      { version: 1, action: 'block', blockSeconds: 60, dryRunId: null },
    ])
    expect((await api.delete(path, token)).status).toBe(204)
    expect(await api.get(path, token)).toMatchObject({ status: 404, body: { code: 'rule.unknown' } })
    const { items } = await listAudit(database.db, { subject: created.body.id })
    expect(items.map(({ action }) => action).toReversed()).toEqual([
      'rule_create',
      'rule_change',
      'rule_live',
      'rule_off',
      'rule_delete',
    ])
    expect(new Set(items.map(({ actor }) => actor))).toEqual(new Set([`owner:${account.toLowerCase()}`]))
  })

  test('are their own: of another owner, a merchant and the operator nobody else sees or changes one', async () => {
    const merchant = await api.createMerchant('Shop')
    const someone = await signIn(database.db, randomAddress())
    const holders = [
      ['/owner/rules', token],
      ['/owner/rules', someone],
      ['/rules', merchant.key],
      ['/rules', operatorApiKey],
    ] as const
    const made: string[] = []
    for (const [path, key] of holders) made.push((await api.post(path, key, nights)).body.id)
    for (const [index, [path, key]] of holders.entries()) {
      const { body } = await api.get(path, key)
      expect(body.rules.map(({ id }: { id: string }) => id)).toEqual([made[index]])
      for (const other of made.filter((id) => id !== made[index])) {
        const asked = await Promise.all([
          api.get(`${path}/${other}`, key),
          api.get(`${path}/${other}/versions`, key),
          api.patch(`${path}/${other}`, key, { name: 'mine' }),
          api.post(`${path}/${other}/live`, key),
          api.delete(`${path}/${other}`, key),
          api.post(`${path}/dry-runs`, key, { ...day, ruleId: other }),
        ])
        expect(asked.map(({ status, body: { code } }) => [status, code])).toEqual(
          asked.map(() => [404, 'rule.unknown']),
        )
      }
    }
    // And nothing of it changed.
    for (const [index, [path, key]] of holders.entries())
      expect((await api.get(`${path}/${made[index]}`, key)).body).toMatchObject({
        name: 'Nights',
        state: 'draft',
        version: 1,
      })
  })

  test.each([
    ['amount >', 'Line 1, column 9:'],
    ['amount > 5\n  && foo', 'Line 2, column 6: there is no variable foo'],
    ['calls("2m") > 1', 'Line 1, column 7: there is no window "2m"'],
    ['sum("1h")', 'this expression is of type double'],
    ['service.matches("(a+)+")', 'there is no function matches'],
    [`amount > ${'1'.repeat(1_000)}`, 'at most 1000 characters'],
  ])('whose expression is wrong are refused with the place, and nothing changes: %s', async (expression, detail) => {
    const refused = await api.post('/owner/rules', token, { ...nights, expression })
    expect(refused).toMatchObject({ status: 422, body: { code: 'rule.invalid' } })
    expect(refused.body.detail).toContain(detail)
    expect((await api.get('/owner/rules', token)).body.rules).toEqual([])
    const { body } = await api.post('/owner/rules', token, nights)
    expect((await api.patch(`/owner/rules/${body.id}`, token, { expression })).status).toBe(422)
    expect((await api.post('/owner/rules/dry-runs', token, { ...day, expression, action: 'alert' })).status).toBe(422)
    expect((await api.get(`/owner/rules/${body.id}`, token)).body).toEqual(body)
  })

  test.each([
    [{ ...nights, blockSeconds: undefined }, 'blockSeconds'],
    [{ ...nights, action: 'freeze' }, 'blockSeconds'],
    [{ ...nights, action: 'delete' }, 'action'],
    [{ ...nights, scope: { payees: ['0x1'] } }, 'scope.payees'],
    [{ ...nights, scope: { accounts: [] } }, 'scope'],
    [{ ...nights, name: '' }, 'name'],
    [{ ...nights, expression: 'true\u0000' }, 'expression'],
  ])('that are not whole are refused: %j', async (rule, field) => {
    const refused = await api.post('/owner/rules', token, rule)
    expect(refused).toMatchObject({ status: 400, body: { code: 'request.invalid' } })
    expect(refused.body.detail).toContain(field)
  })

  test('of a merchant do not revoke, also not when they are changed, and the operator’s may', async () => {
    const { key } = await api.createMerchant('Shop')
    const revoking = { ...nights, action: 'revoke', blockSeconds: null } as const
    const code = 'rule.action_refused'
    expect(await api.post('/rules', key, revoking)).toMatchObject({ status: 422, body: { code } })
    const { body } = await api.post('/rules', key, nights)
    expect(await api.patch(`/rules/${body.id}`, key, { action: 'revoke' })).toMatchObject({
      status: 422,
      body: { code },
    })
    expect((await api.post('/rules', operatorApiKey, revoking)).status).toBe(201)
  })

  test('are bounded', async () => {
    for (let rule = 0; rule < 20; rule++) expect((await api.post('/owner/rules', token, nights)).status).toBe(201)
    expect(await api.post('/owner/rules', token, nights)).toMatchObject({
      status: 409,
      body: { code: 'rule.too_many' },
    })
  })

  test('need a session or a key', async () => {
    expect((await api.get('/owner/rules', 'pbo_none')).status).toBe(401)
    expect((await api.get('/rules', 'pb_none')).status).toBe(401)
    expect((await api.post('/rules', token, nights)).status).toBe(401)
  })
})

describe('dry runs', () => {
  const result = {
    charges: 3,
    matched: 3,
    unknown: 0,
    failed: 0,
    firstFailure: null,
    spared: 0,
    grants: 1,
    stoppedGrants: 0,
    stoppedCalls: 0,
    stoppedAtomic: '1500000',
    stops: [],
    examples: [],
    cutShort: null,
    learnedFrom: '2026-01-01T00:00:00.000Z',
  }

  test('wait for a sentinel, and a rule that goes live names the one of its version', async () => {
    const rule = await api.post('/owner/rules', token, nights)
    const path = `/owner/rules/${rule.body.id}`
    const asked = await api.post('/owner/rules/dry-runs', token, { ...day, ruleId: rule.body.id })
    const { expression, action, blockSeconds } = nights
    expect(asked).toMatchObject({
      status: 202,
      body: { ruleId: rule.body.id, ruleVersion: 1, expression, action, blockSeconds, state: 'pending', result: null },
    })
    expect((await api.post(`${path}/live`, token)).body).toMatchObject({
      dryRun: { id: asked.body.id, state: 'pending' },
      warning: expect.any(String),
    })
    await finishAll()
    const live = await api.post(`${path}/live`, token)
    expect(live.body).toMatchObject({ state: 'live', dryRun: { id: asked.body.id, state: 'done' } })
    expect(live.body).not.toHaveProperty('warning')
    expect((await api.get(`/owner/rules/dry-runs/${asked.body.id}`, token)).body).toMatchObject({
      state: 'done',
      result: { charges: 3, stoppedAmount: '1.5' },
    })
    expect((await api.get('/owner/rules/dry-runs', token)).body.dryRuns).toHaveLength(1)
    const other = await signIn(database.db, randomAddress())
    expect((await api.get(`/owner/rules/dry-runs/${asked.body.id}`, other)).status).toBe(404)
  })

  test.each([
    [{ from: day.until, until: day.from }, 'until'],
    [{ from: '2026-01-01T00:00:00Z', until: '2026-02-02T00:00:00Z' }, '31 days'],
    [{ from: '2999-01-01T00:00:00Z', until: '2999-01-02T00:00:00Z' }, 'not in the past'],
    [{ from: 'yesterday', until: day.until }, 'from'],
  ])('of times that are none are refused: %j', async (times, detail) => {
    const refused = await api.post('/owner/rules/dry-runs', token, {
      ...times,
      expression: 'amount > 1',
      action: 'alert',
    })
    expect(refused.status).toBe(400)
    expect(refused.body.detail).toContain(detail)
  })

  test('are three at a time', async () => {
    const ask = () => api.post('/owner/rules/dry-runs', token, { ...day, expression: 'amount > 1', action: 'freeze' })
    const statuses = []
    for (let run = 0; run < 4; run++) statuses.push((await ask()).status)
    expect(statuses).toEqual([202, 202, 202, 409])
    await finishAll()
    expect((await ask()).status).toBe(202)
  })

  async function finishAll(): Promise<void> {
    for (;;) {
      const now = new Date()
      const run = await leaseDryRun(database.db, { owner: 'test', now, leaseMs: 1_000 })
      if (!run) return
      await finishDryRun(database.db, { id: run.id, owner: 'test', now, outcome: { result } })
    }
  }
})

test('an allow list holds grants, payees and services, each once, and only its own', async () => {
  const entries = [
    { kind: 'grant', value: randomHex(32) },
    { kind: 'payee', value: randomAddress() },
    { kind: 'service', value: `svc_${'0'.repeat(32)}` },
  ] as const
  const ids: string[] = []
  for (const entry of entries) {
    const added = await api.post('/owner/rules/allow-list', token, entry)
    expect(added).toMatchObject({ status: 201, body: { kind: entry.kind, value: entry.value.toLowerCase() } })
    expect((await api.post('/owner/rules/allow-list', token, entry)).body).toEqual(added.body)
    ids.push(added.body.id)
  }
  const list = async (key: string) => (await api.get('/owner/rules/allow-list', key)).body.allowances
  expect((await list(token)).map(({ id }: { id: string }) => id)).toEqual(ids.toReversed())
  const other = await signIn(database.db, randomAddress())
  expect(await list(other)).toEqual([])
  const path = `/owner/rules/allow-list/${ids[0]}`
  expect(await api.delete(path, other)).toMatchObject({ status: 404, body: { code: 'allowance.unknown' } })
  expect((await api.delete(path, token)).status).toBe(204)
  expect(await list(token)).toHaveLength(2)
  for (const wrong of [{ kind: 'host', value: 'x' }, { kind: 'payee', value: 'x' }, { kind: 'grant' }])
    expect((await api.post('/owner/rules/allow-list', token, wrong)).status).toBe(400)
})

test('a hold of a rule reaches the meter with the answer, for the operator’s sentinel alone, and repeating it does no harm', async () => {
  const { db } = database
  const { payee, key } = await api.createMerchant('Shop')
  const terms = { sessionKey: randomAddress(), totalLimit: '100', validUntil: 4_000_000_000 }
  const { body } = await api.post('/session-keys', key, { account, terms, payees: [payee] })
  const { grantId } = body as { grantId: Hex }
  const settled = { settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 100n }
  await updateGrantStates(db, [{ grantId, status: 'active', ...settled }])
  const chainState = { accountFrozen: false, guardian: randomAddress(), epoch: 0n, blockNumber: 100n }
  const money = { balance: 1_000_000_000n, allowance: 500_000_000n }
  await upsertAccountsFromChain(db, [{ account, token: chain.token, ...money, ...chainState }])
  const rule = await api.post('/owner/rules', token, nights)
  await api.post(`/owner/rules/${rule.body.id}/live`, token)
  const now = new Date()
  const charge = { payee, requestId: randomHex(12), chargedAt: now }
  const { incident } = await openHoldingIncident(
    db,
    {
      ...{ grantId, account, ...charge, now, inputs: {}, explanation: 'It was true.' },
      ...{ rule: `${rule.body.id}@1`, ruleVersion: 1, ruleId: rule.body.id, action: 'block', severity: 'critical' },
    },
    { ruleId: rule.body.id, merchantId: null, until: new Date(now.getTime() + 3_600_000), reason: 'rule: Nights' },
  )
  const due = await listDueRuleHolds(db, { now, limit: 100 })
  const id = due.find(({ incidentId }) => incidentId === incident.id)?.id
  const apply = (as: string) => api.post(`/rules/holds/${id}/apply`, as)
  const frozen = async () => (await api.meter.read(account, grantId))?.status

  expect((await apply(key)).status).toBe(403)
  expect(await apply(operatorApiKey)).toMatchObject({ status: 200, body: { id, is: 'placed' } })
  expect((await apply(operatorApiKey)).body).toMatchObject({ is: 'placed' })
  expect(await listControls(db, { grantId })).toMatchObject([
    { holder: 'rule', merchantId: null, reason: 'rule: Nights' },
  ])
  expect(await frozen()).toBe('frozen')

  await api.post(`/owner/rules/${rule.body.id}/off`, token)
  expect((await apply(operatorApiKey)).body).toMatchObject({ is: 'lifted' })
  expect((await apply(operatorApiKey)).body).toMatchObject({ is: 'over' })
  expect(await listControls(db, { grantId })).toEqual([])
  expect(await frozen()).toBe('active')
  expect(await api.post('/rules/holds/rhd_none/apply', operatorApiKey)).toMatchObject({
    status: 404,
    body: { code: 'rule.hold_unknown' },
  })
})
