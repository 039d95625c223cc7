import {
  acknowledgeIncident,
  activateAlertChannel,
  type NewIncident,
  openHoldingIncident,
  openIncident,
  openOwnerSession,
  tellAlertSender,
  updateGrantStates,
  upsertAccountsFromChain,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
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

// Every operation that changes something is done once here, and has to be found in the audit under its request's name.

/** Changes that are held elsewhere, or that are none. */
const elsewhere: Readonly<Record<string, string>> = {
  createNonce: 'nothing is kept of it',
  openSession: 'owners.test.ts',
  useAlertLink: 'alerts.test.ts',
  retrySettlement: 'operations.test.ts',
  writeOffSettlement: 'operations.test.ts',
  refuseGrants: 'no record: who asks for it records the stop right after',
  ...Object.fromEntries(
    ['createCharge', 'captureCharge', 'extendCharge', 'settleCharge', 'serveCharge', 'releaseCharge'].map((id) => [
      id,
      'a payment: the journal is its record',
    ]),
  ),
}

type Method = 'POST' | 'PUT' | 'PATCH' | 'DELETE'
/** Does a change, and says what the audit calls it. */
type Change = () => Promise<{ requestId: string; actor: string; body: { id: string } & Record<string, unknown> }>

let database: TestDatabase
let api: TestApi
let shop: TestMerchant
let account: Address
let token: string
let grantId: Hex
let sessionKey: Address

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  shop = await api.createMerchant('Shop')
  account = randomAddress()
  sessionKey = randomAddress()
  for (const [kind, sender] of [
    ['email', 'alerts@example.com'],
    ['telegram', 'stream_bot'],
  ] as const) {
    await tellAlertSender(database.db, { kind, configured: true, sender, now: new Date() })
  }
  token = await openSession()
  grantId = await registerGrant()
})
afterAll(() => database.drop())

async function openSession(): Promise<string> {
  const [now, expiresAt] = [new Date(), new Date(Date.now() + 3_600_000)]
  const session = await openOwnerSession(database.db, { account, nonce: randomHex(16), now, expiresAt })
  return session?.token ?? ''
}

async function registerGrant(): Promise<Hex> {
  const terms = { sessionKey, totalLimit: '100', validUntil: 4_000_000_000 }
  const { body } = await api.post('/session-keys', shop.key, { account, terms, payees: [shop.payee] })
  const settled = { settled: 0n, periodIndex: 0, periodSettled: 0n }
  await updateGrantStates(database.db, [{ grantId: body.grantId, status: 'active', ...settled, blockNumber: 100n }])
  const state = { accountFrozen: false, guardian: randomAddress(), epoch: 0n, blockNumber: 100n }
  const money = { balance: 1_000_000_000n, allowance: 500_000_000n }
  await upsertAccountsFromChain(database.db, [{ account, token: chain.token, ...money, ...state }])
  return body.grantId
}

const incidentOf = (of: Hex, rule: string): NewIncident => ({
  grantId: of,
  account,
  rule,
  ruleVersion: 1,
  action: 'freeze',
  severity: 'critical',
  ruleId: null,
  payee: shop.payee,
  requestId: randomHex(12),
  chargedAt: new Date(),
  inputs: {},
  explanation: 'Too many calls.',
  now: new Date(),
})

async function send(method: Method, path: string, key: string, body?: unknown): ReturnType<Change> {
  const response = await api.app.request(`/api${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  expect([method, path, response.status < 300, text]).toEqual([method, path, true, text])
  const actor = key === token ? `owner:${account.toLowerCase()}` : key === shop.key ? shop.keyId : 'operator'
  const requestId = response.headers.get('x-request-id') ?? ''
  return { requestId, actor, body: text === '' ? {} : JSON.parse(text) }
}

const name = () => ({ name: `n${randomHex(8)}` })
const newService = () => ({ ...name(), pathPrefix: `/p${randomHex(8)}`, price: '0.01' })
const rule = { name: 'Nights', expression: 'amount > 1', action: 'alert' }
const day = { from: '2026-01-01T00:00:00Z', until: '2026-01-02T00:00:00Z' }

async function idOf(path: string, key: string, body: unknown): Promise<string> {
  return (await send('POST', path, key, body)).body.id
}

const webhook = { url: 'https://hooks.example.com/stream' }
const telegram = { kind: 'telegram' }

/** What merchants, owners and the operator have alike, below a path of their own. */
function shared(prefix: '' | '/owner', key: () => string): Record<string, Change> {
  const at = (path: string) => `${prefix}${path}`
  const newWebhook = () => idOf(at('/webhooks'), key(), webhook)
  const newRule = () => idOf(at('/rules'), key(), rule)
  const email = () => ({ kind: 'email', address: `${randomHex(8)}@example.com` })
  return {
    createWebhook: () => send('POST', at('/webhooks'), key(), webhook),
    changeWebhook: async () => send('PATCH', at(`/webhooks/${await newWebhook()}`), key(), { description: 'Mine.' }),
    deleteWebhook: async () => send('DELETE', at(`/webhooks/${await newWebhook()}`), key()),
    rotateWebhookSecret: async () => send('POST', at(`/webhooks/${await newWebhook()}/rotate-secret`), key()),
    testWebhook: async () => send('POST', at(`/webhooks/${await newWebhook()}/test`), key()),
    async replayWebhookDelivery() {
      const id = await newWebhook()
      const { deliveryId } = (await send('POST', at(`/webhooks/${id}/test`), key())).body
      await database.query(
        `update webhook_delivery set state = 'failed', ended_at = now(), next_attempt_at = null where id = $1`,
        [deliveryId],
      )
      return send('POST', at(`/webhooks/${id}/deliveries/${deliveryId}/replay`), key())
    },
    createAlertChannel: () => send('POST', at('/alert-channels'), key(), email()),
    deleteAlertChannel: async () =>
      send('DELETE', at(`/alert-channels/${await idOf(at('/alert-channels'), key(), email())}`), key()),
    async testAlertChannel() {
      const [id, target] = [await idOf(at('/alert-channels'), key(), telegram), randomHex(4)]
      await activateAlertChannel(database.db, { id, target, now: new Date() })
      return send('POST', at(`/alert-channels/${id}/test`), key())
    },
    verifyAlertChannel: async () =>
      send('POST', at(`/alert-channels/${await idOf(at('/alert-channels'), key(), telegram)}/verification`), key()),
    createRule: () => send('POST', at('/rules'), key(), rule),
    changeRule: async () => send('PATCH', at(`/rules/${await newRule()}`), key(), { name: 'Days' }),
    startRule: async () => send('POST', at(`/rules/${await newRule()}/live`), key()),
    async stopRule() {
      const id = await newRule()
      await send('POST', at(`/rules/${id}/live`), key())
      return send('POST', at(`/rules/${id}/off`), key())
    },
    deleteRule: async () => send('DELETE', at(`/rules/${await newRule()}`), key()),
    createDryRun: () =>
      send('POST', at('/rules/dry-runs'), key(), { ...day, expression: 'amount > 1', action: 'alert' }),
    addAllowance: () => send('POST', at('/rules/allow-list'), key(), { kind: 'payee', value: randomAddress() }),
    async removeAllowance() {
      const id = await idOf(at('/rules/allow-list'), key(), { kind: 'payee', value: randomAddress() })
      return send('DELETE', at(`/rules/allow-list/${id}`), key())
    },
    async acknowledgeIncident() {
      const { incident } = await openIncident(database.db, incidentOf(grantId, `a${randomHex(4)}`))
      return send('POST', at(`/incidents/${incident.id}/acknowledge`), key())
    },
    async closeIncident() {
      const { incident } = await openIncident(database.db, incidentOf(grantId, `c${randomHex(4)}`))
      await acknowledgeIncident(database.db, { id: incident.id, actor: 'operator', now: new Date() })
      return send('POST', at(`/incidents/${incident.id}/close`), key())
    },
  }
}

const ofKeys: Record<string, Change> = {
  ...shared('', () => operatorApiKey),
  createMerchant: () => send('POST', '/merchants', operatorApiKey, { ...name(), payee: randomAddress() }),
  setCredit: () => send('PUT', `/merchants/${shop.id}/credit`, shop.key, { mode: 'reserve_only' }),
  createService: () => send('POST', '/services', shop.key, newService()),
  changeService: async () =>
    send('PATCH', `/services/${await idOf('/services', shop.key, newService())}`, shop.key, { price: '0.02' }),
  disableService: async () => send('DELETE', `/services/${await idOf('/services', shop.key, newService())}`, shop.key),
  issueApiKey: () => send('POST', '/api-keys', shop.key, name()),
  rotateApiKey: async () => send('POST', `/api-keys/${await idOf('/api-keys', shop.key, name())}/rotate`, shop.key),
  revokeApiKey: async () => send('DELETE', `/api-keys/${await idOf('/api-keys', shop.key, name())}`, shop.key),
  registerGrant: () =>
    send('POST', '/session-keys', shop.key, {
      account,
      terms: { sessionKey: randomAddress(), totalLimit: '100', validUntil: 4_000_000_000 },
      payees: [shop.payee],
    }),
  freezeSessionKey: () => send('POST', `/session-keys/${sessionKey}/freeze`, shop.key),
  async unfreezeSessionKey() {
    await send('POST', `/session-keys/${sessionKey}/freeze`, shop.key)
    return send('POST', `/session-keys/${sessionKey}/unfreeze`, shop.key)
  },
  async removeSessionKey() {
    const other = randomAddress()
    const terms = { sessionKey: other, totalLimit: '100', validUntil: 4_000_000_000 }
    await send('POST', '/session-keys', shop.key, { account, terms, payees: [shop.payee] })
    return send('DELETE', `/session-keys/${other}`, shop.key)
  },
  setLimits: () => send('PUT', `/session-keys/${sessionKey}/limits`, operatorApiKey, { all: { maxCallsPerDay: 5 } }),
  async requestSettlement() {
    await database.query(
      'update channel set charged = 10, cumulative_amount = 10, signature = $2 where grant_id = $1',
      [grantId, randomHex(65)],
    )
    return send('POST', '/settlements', shop.key, { grantId })
  },
  requestReconciliation: () => send('POST', '/reconciliations', operatorApiKey, {}),
  async applyRuleHold() {
    const ruleId = await idOf('/rules', operatorApiKey, rule)
    await send('POST', `/rules/${ruleId}/live`, operatorApiKey)
    const incident = { ...incidentOf(grantId, 'Nights'), ruleId }
    await openHoldingIncident(database.db, incident, { ruleId, merchantId: null, until: null, reason: 'Nights' })
    const [hold] = await database.query<{ id: string }>('select id from sentinel_rule_hold where rule_id = $1', [
      ruleId,
    ])
    return send('POST', `/rules/holds/${hold?.id}/apply`, operatorApiKey)
  },
}

const ofOwners: Record<string, Change> = {
  ...shared('/owner', () => token),
  freezeGrant: () => send('POST', `/owner/grants/${grantId}/freeze`, token),
  async unfreezeGrant() {
    await send('POST', `/owner/grants/${grantId}/freeze`, token)
    return send('POST', `/owner/grants/${grantId}/unfreeze`, token)
  },
  setGrantLimits: () => send('PUT', `/owner/grants/${grantId}/limits`, token, { all: { maxCallsPerDay: 4 } }),
  setVoucherPolicy: () => send('PUT', '/owner/voucher-policy', token, { policy: 'settle' }),
  setGrantVoucherPolicy: () => send('PUT', `/owner/grants/${grantId}/voucher-policy`, token, { policy: 'settle' }),
}

const changes: Record<string, Change> = {
  ...ofKeys,
  ...Object.fromEntries(
    Object.entries(ofOwners).map(([id, change]) => [`owner${id[0]?.toUpperCase()}${id.slice(1)}`, change]),
  ),
  async endSession() {
    const other = await openSession()
    return { ...(await send('DELETE', '/owners/session', other)), actor: `owner:${account.toLowerCase()}` }
  },
}

test('every operation that changes something is held here, or elsewhere', async () => {
  type Paths = Record<string, Record<string, { operationId: string }>>
  const document: { paths: Paths } = JSON.parse(await (await api.app.request('/api/openapi.json')).text())
  const ids = Object.values(document.paths).flatMap((methods) =>
    Object.entries(methods).flatMap(([method, { operationId }]) => (method === 'get' ? [] : [operationId])),
  )
  expect(ids.toSorted()).toEqual([...Object.keys(changes), ...Object.keys(elsewhere)].toSorted())
})

test.each(Object.keys(changes))('%s leaves an audit entry with who did it, by which request', async (id) => {
  const done = await changes[id]?.()
  const entries = await database.query<{ actor: string; before: unknown; after: unknown }>(
    `select actor, before, after from audit_entry where request_id = $1 and outcome = 'done'`,
    [done?.requestId],
  )
  expect(entries.length).toBeGreaterThan(0)
  for (const { actor, before, after } of entries) {
    if (id !== 'applyRuleHold') expect(actor).toBe(done?.actor)
    expect(before ?? after).not.toBeNull()
  }
})
