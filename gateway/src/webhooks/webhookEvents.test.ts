import { readFile } from 'node:fs/promises'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { randomAddress, randomHex } from '../api/testing/testApi.ts'
import { testEventType, toWebhookPayload, webhookEventSchemas, webhookEventTypes } from './webhookEvents.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const document = await readFile(new URL('../../../docs/webhooks.md', import.meta.url), 'utf8')

test('docs/webhooks.md explains every type and every field of its data', () => {
  expect([...webhookEventTypes, testEventType].filter((type) => !document.includes(`\`${type}\``))).toEqual([])
  const fields = Object.values(webhookEventSchemas).flatMap((schema) => Object.keys(schema.shape))
  expect(fields.filter((field) => !document.includes(`\`${field}\``))).toEqual([])
})

test('what the database writes is what the types say, of every type', async () => {
  const { query } = database
  const [account, token, payee] = [randomAddress(), randomAddress(), randomAddress()].map((text) => text.toLowerCase())
  const [grantId, txHash] = [randomHex(32), randomHex(32)]
  await query(`insert into merchant values ('mer_1', 'Shop', $1, 0)`, [payee])
  await query(
    `insert into "grant" (grant_id, account, session_key, settler, token, total_limit, period_limit, period, valid_after,
       valid_until, payee_root, source, salt, packed_terms, epoch, status)
     values ($1, $2, $2, $2, $3, 9, 0, 0, 0, 9, $1, 'reserve', '0x', '0x', 0, 'active')`,
    [grantId, account, token],
  )
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
  await set(`state = 'failed', attempts = 1, error_code = 'chain.unavailable', error_message = 'No answer.'`)
  await query(`update settlement_item set paid = 7`)
  await set(`state = 'confirmed', tx_hash = '${txHash}', block_number = 5`)
  await set(`state = 'submitted', tx_hash = null, block_number = null`)
  await set(`state = 'dead', attempts = 2`)
  for (const status of ['frozen', 'active', 'revoked', 'active'])
    await query(`update "grant" set status = $1`, [status])
  await query(`update account set reserve_balance = 9, reserve_withdrawing = 4, reserve_withdrawable_at = 1800000000`)
  await query(
    `insert into outbox (topic, merchant_id, payload)
     values ('webhook_endpoint.disabled', 'mer_1', '{"endpointId":"whep_1","url":"https://a.b/","reason":"gone"}')`,
  )

  const rows = await query<{ topic: string; payload: Record<string, unknown> }>('select * from outbox order by id')
  const payloads = rows.map(({ topic, payload }) =>
    toWebhookPayload({ type: topic, data: payload, occurredAt: new Date('2026-01-01T00:00:00Z') }),
  )
  expect(new Set(payloads.map(({ type }) => type))).toEqual(new Set(webhookEventTypes))
  const dataOf = (wanted: string) => payloads.find(({ type }) => type === wanted)?.data
  expect(payloads[0]).toMatchObject({ type: 'settlement.failed', timestamp: '2026-01-01T00:00:00.000Z' })
  expect(dataOf('settlement.failed')).toMatchObject({ attempts: 1, errorCode: 'chain.unavailable', amountAtomic: '7' })
  expect(dataOf('settlement.confirmed')).toMatchObject({ paidAtomic: '7', txHash, blockNumber: '5', userOpHash: null })
  expect(dataOf('settlement.reopened')).toMatchObject({ txHash, blockNumber: '5' })
  expect(dataOf('reserve.withdrawal_requested')).toMatchObject({
    balanceAtomic: '9',
    withdrawingAtomic: '4',
    withdrawableAt: '2027-01-15T08:00:00.000Z',
  })
})

test('a type that nobody knows is a mistake', () => {
  expect(() => toWebhookPayload({ type: 'other', data: {}, occurredAt: new Date() })).toThrow(/no schema/)
})
