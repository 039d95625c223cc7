import { readFile } from 'node:fs/promises'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import type { Address } from '@protocolbanks/stream-protocol'
import { getAddress } from 'viem'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { randomAddress, randomHex } from '../api/testing/testApi.ts'
import {
  audienceOf,
  testEventType,
  toWebhookPayload,
  type WebhookAudience,
  webhookEventSchemas,
  webhookEventTypes,
} from './webhookEvents.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const document = await readFile(new URL('../../../docs/webhooks.md', import.meta.url), 'utf8')

test('docs/webhooks.md explains every type and every field of its data', () => {
  const types = [...Object.values(webhookEventTypes).flat(), testEventType]
  expect(types.filter((type) => !document.includes(`\`${type}\``))).toEqual([])
  const schemas = Object.values(webhookEventSchemas).flatMap((byType): object[] => Object.values(byType))
  const fields = schemas.flatMap((schema) => ('shape' in schema && schema.shape ? Object.keys(schema.shape) : []))
  expect(fields.length).toBeGreaterThan(80)
  expect(fields.filter((field) => !document.includes(`\`${field}\``))).toEqual([])
})

test('what the database writes is what the types say, of every type and to everybody who is told', async () => {
  const { query } = database
  const [account, token, payee] = [randomAddress(), randomAddress(), randomAddress()].map((text) => text.toLowerCase())
  const [grantId, txHash] = [randomHex(32), randomHex(32)]
  await query(`insert into merchant values ('mer_1', 'Shop', $1, 0)`, [payee])
  // Owners are told while they have an endpoint.
  await query(
    `insert into webhook_endpoint (id, account, url, state, secret) values ('whep_1', $1, 'https://a.b/', 'enabled', 's')`,
    [account],
  )
  await query(
    `insert into "grant" (grant_id, account, session_key, settler, token, total_limit, period_limit, period, valid_after,
       valid_until, payee_root, source, salt, packed_terms, epoch, status)
     values ($1, $2, $2, $2, $3, 9, 0, 0, 0, 9, $1, 'reserve', '0x', '0x', 0, 'pending')`,
    [grantId, account, token],
  )
  await query(`update "grant" set status = 'active'`)
  await query(`insert into channel (grant_id, payee, merchant_id) values ($1, $2, 'mer_1')`, [grantId, payee])
  await query(
    `insert into account (account, token, balance, allowance, account_frozen, guardian, epoch, block_number)
     values ($1, $2, 0, 0, false, $1, 0, 0)`,
    [account, token],
  )
  await query(
    `insert into settlement (id, grant_id, account, state, trigger, nonce_key)
     values ('stl_1', $1, $2, 'submitted', 'threshold', 0)`,
    [grantId, account],
  )
  await query(
    `insert into settlement_item (settlement_id, payee, merchant_id, amount, cumulative_amount, signature, payee_proof)
     values ('stl_1', $1, 'mer_1', 7, 9, '0x', '{}')`,
    [payee],
  )
  const set = (change: string) => query(`update settlement set ${change} where id = 'stl_1'`)
  const failure = `error_code = 'chain.unavailable', error_message = 'No answer.', failure_reason = 'unavailable'`
  await set(`state = 'failed', attempts = 1, ${failure}`)
  await query(`update settlement_item set paid = 7`)
  await set(`state = 'confirmed', tx_hash = '${txHash}', block_number = 5`)
  await set(`state = 'submitted', tx_hash = null, block_number = null`)
  await set(`state = 'dead', attempts = 2`)
  for (const status of ['frozen', 'active', 'revoked', 'active'])
    await query(`update "grant" set status = $1`, [status])
  await query(`insert into owner_freeze values ($1, $2, 'Lost my phone.', 'owner:x')`, [grantId, account])
  await query(
    `insert into grant_control values ('ctl_1', $1, 'mer_1', 'frozen', 'Too fast.', 'key_1', now(), 'merchant')`,
    [grantId],
  )
  await query(`update "grant" set settled = 9`)
  await query(`update account set reserve_balance = 9, reserve_withdrawing = 4, reserve_withdrawable_at = 1800000000`)
  await query(
    `insert into sentinel_incident (id, grant_id, account, rule, rule_version, action, severity, state, payee, request_id, charged_at,
       inputs, explanation, opened_at, last_found_at)
     values ('inc_1', $1, $2, 'calls.per_minute', 1, 'freeze', 'critical', 'open', $3, 'request-1', now(), '{"calls":"101"}',
       'It made 101 calls within a minute.', now(), now())`,
    [grantId, account, payee],
  )
  await query(
    `insert into sentinel_stop (id, incident_id, grant_id, account, kind, chain_state, created_at, updated_at)
     values ('stp_1', 'inc_1', $1, $2, 'freeze', 'due', now(), now())`,
    [grantId, account],
  )
  await query(`update sentinel_stop set chain_state = 'confirmed', tx_hash = $1, block_number = 7`, [txHash])
  await query(`update sentinel_incident set state = 'closed', closed_at = now()`)
  const disabled = '{"endpointId":"whep_1","url":"https://a.b/","reason":"gone"}'
  await query(
    `insert into outbox (topic, merchant_id, account, payload) values
       ('webhook_endpoint.disabled', 'mer_1', null, '${disabled}'),
       ('webhook_endpoint.disabled', null, $1, '${disabled}'),
       ('webhook_endpoint.disabled', null, null, '${disabled}'),
       ('reconciliation.difference', null, null, $2),
       ('usage.quarantined', null, null, '{"events":1,"reasons":{"stale":1},"firstEventId":"e","firstDetail":"Old."}')`,
    [
      account,
      {
        reconciliationId: 'rec_1',
        blockNumber: '7',
        differences: 1,
        first: [{ kind: 'meter', grantId, payee, expectedAtomic: '2', actualAtomic: '1', detail: 'The meter.' }],
      },
    ],
  )

  const rows = await query<{
    topic: string
    merchant_id: string | null
    account: Address | null
    payload: Record<string, unknown>
  }>('select * from outbox order by id')
  const told = rows.map(({ topic, merchant_id, account, payload }) => {
    const whose = { merchantId: merchant_id, account }
    const occurredAt = new Date('2026-01-01T00:00:00Z')
    const event = toWebhookPayload({ ...whose, type: topic, data: payload, occurredAt })
    return { audience: audienceOf(whose), ...event }
  })
  const typesOf = (audience: WebhookAudience) =>
    new Set(told.filter((event) => event.audience === audience).map(({ type }) => type))
  for (const audience of ['merchant', 'owner', 'operator'] as const) {
    expect(typesOf(audience), audience).toEqual(new Set(webhookEventTypes[audience]))
  }
  const dataOf = (audience: WebhookAudience, wanted: string) =>
    told.find(({ audience: whose, type }) => whose === audience && type === wanted)?.data
  const failed = { attempts: 1, errorCode: 'chain.unavailable', amountAtomic: '7' }
  expect(told[0]?.timestamp).toBe('2026-01-01T00:00:00.000Z')
  expect(dataOf('merchant', 'settlement.failed')).toMatchObject(failed)
  const place = { txHash, blockNumber: '5' }
  const paid = { paidAtomic: '7', userOpHash: null, ...place }
  expect(dataOf('merchant', 'settlement.confirmed')).toMatchObject(paid)
  expect(dataOf('merchant', 'settlement.reopened')).toMatchObject(place)
  const withdrawal = { balanceAtomic: '9', withdrawingAtomic: '4', withdrawableAt: '2027-01-15T08:00:00.000Z' }
  expect(dataOf('merchant', 'reserve.withdrawal_requested')).toMatchObject(withdrawal)

  const terms = { totalLimitAtomic: '9', source: 'reserve', validUntil: '1970-01-01T00:00:09.000Z' }
  expect(dataOf('owner', 'session_key.registered')).toMatchObject(terms)
  expect(dataOf('owner', 'grant.created')).toMatchObject(terms)
  const payments = [{ payee: getAddress(payee ?? ''), paidAtomic: '7', skippedReason: null }]
  expect(dataOf('owner', 'settlement.confirmed')).toMatchObject({ ...paid, payments })
  expect(dataOf('owner', 'settlement.reopened')).toMatchObject(place)
  expect(dataOf('owner', 'reserve.withdrawal_requested')).toMatchObject(withdrawal)
  expect(dataOf('owner', 'grant.exhausted')).toMatchObject({ totalLimitAtomic: '9', settledAtomic: '9' })
  const frozen = (audience: WebhookAudience) =>
    told
      .filter(({ audience: whose, type }) => whose === audience && type === 'grant.frozen')
      .map(({ data }) => [data.by, data.reason, data.status])
  const byChain = ['chain', null, 'frozen']
  const byOwner = ['owner', 'Lost my phone.', 'frozen']
  const byMerchant = ['merchant', 'Too fast.', 'frozen']
  for (const audience of ['merchant', 'owner'] as const) {
    expect(frozen(audience), audience).toEqual([byChain, byOwner, byMerchant])
  }
  expect(dataOf('operator', 'settlement.dead')).toMatchObject({
    settlementId: 'stl_1',
    payees: [getAddress(payee ?? '')],
    attempts: 2,
    errorCode: 'chain.unavailable',
  })
})

test('a type that nobody knows is a mistake, also one that is known to others', () => {
  const nobodys = { merchantId: null, account: null, data: {}, occurredAt: new Date() }
  expect(() => toWebhookPayload({ ...nobodys, type: 'other' })).toThrow(/no schema/)
  expect(() => toWebhookPayload({ ...nobodys, type: 'grant.frozen' })).toThrow(/no schema/)
})
