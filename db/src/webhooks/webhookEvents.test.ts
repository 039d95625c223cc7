import type { Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { setControl } from '../controls/controls.ts'
import { freezeGrant, unfreezeGrant } from '../controls/freezeGrant.ts'
import { type GrantFromChain, updateGrantStates, upsertAccountsFromChain } from '../grants/mirror.ts'
import { advance, deleteAbove } from '../indexer/indexer.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import type { Merchant } from '../merchants/merchants.ts'
import type { Service } from '../services/services.ts'
import { claimSettlement } from '../settlements/claimSettlement.ts'
import { markConfirmed, markDead, markRetry, markSubmitted, retryDeadSettlement } from '../settlements/outcomes.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress, randomHex } from '../testing/fixtures.ts'
import { withService } from '../withService.ts'
import { withTenant } from '../withTenant.ts'

// Events are written by the database itself, with the change they tell of.

let database: TestDatabase
let weather: { merchant: Merchant; service: Service }
let maps: { merchant: Merchant; service: Service }
let grant: GrantFromChain

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())
beforeEach(async () => {
  const { db } = database
  weather = await arrangeMerchant(db)
  maps = await arrangeMerchant(db)
  grant = await arrangeGrant(db, [weather.merchant, maps.merchant])
})

type Message = { topic: string; merchant: 'weather' | 'maps'; payload: Record<string, unknown> }

/** What was written for the two merchants, in order. */
async function messages(): Promise<Message[]> {
  const rows = await database.query<{ topic: string; merchant_id: string; payload: Record<string, unknown> }>(
    'select topic, merchant_id, payload from outbox where merchant_id in ($1, $2) order by id',
    [weather.merchant.id, maps.merchant.id],
  )
  return rows
    .map(({ topic, merchant_id, payload }): Message => {
      return { topic, merchant: merchant_id === weather.merchant.id ? 'weather' : 'maps', payload }
    })
    .toSorted((a, b) => (a.topic === b.topic ? b.merchant.localeCompare(a.merchant) : 0))
}

async function topics(): Promise<string[]> {
  return (await messages()).map(({ topic, merchant }) => `${merchant} ${topic}`)
}

async function claim(): Promise<{ id: string; owner: string }> {
  const { db } = database
  for (const seller of [weather, maps]) {
    const charge = { amount: 7n, cumulativeAmount: 9n, occurredAtMs: Date.now() }
    await appendCharges(db, [chargeEvent(grant, seller, charge)])
  }
  const work = await claimSettlement(db, {
    grantId: grant.grantId,
    trigger: 'threshold',
    leaseOwner: 'worker',
    leaseMs: 60_000,
    now: new Date(),
  })
  if (!work) throw new Error('nothing to settle')
  return { id: work.settlement.id, owner: 'worker' }
}

async function confirm(blockNumber: bigint): Promise<{ id: string; owner: string; txHash: Hex }> {
  const held = await claim()
  const txHash = randomHex(32)
  await markSubmitted(database.db, held)
  await markConfirmed(database.db, {
    ...held,
    userOpHash: null,
    txHash,
    blockNumber,
    gasUsed: 1n,
    gasCostWei: 1n,
    items: [
      { payee: weather.merchant.payee, paid: 7n },
      { payee: maps.merchant.payee, paid: 0n, skippedReason: 'TransferFailed' },
    ],
  })
  return { ...held, txHash }
}

test('a confirmed settlement tells each merchant of their own claim alone', async () => {
  const { id, txHash } = await confirm(101n)
  const of = (merchant: Merchant) => ({
    settlementId: id,
    grantId: grant.grantId,
    account: grant.account.toLowerCase(),
    payee: merchant.payee.toLowerCase(),
    token: grant.terms.token.toLowerCase(),
    amountAtomic: '7',
    txHash,
    blockNumber: '101',
    userOpHash: null,
  })
  expect(await messages()).toEqual([
    {
      topic: 'settlement.confirmed',
      merchant: 'weather',
      payload: { ...of(weather.merchant), paidAtomic: '7', skippedReason: null },
    },
    {
      topic: 'settlement.confirmed',
      merchant: 'maps',
      payload: { ...of(maps.merchant), paidAtomic: '0', skippedReason: 'TransferFailed' },
    },
  ])
})

test('each failed attempt and the end of trying are told, a retry by hand and a sending are not', async () => {
  const held = await claim()
  await markSubmitted(database.db, held)
  const failure = { reason: 'unavailable', errorCode: 'chain.unavailable', errorMessage: 'No answer.' } as const
  await markRetry(database.db, { ...held, ...failure, nextAttemptAt: new Date() })
  await database.query(
    "update settlement set lease_owner = $2, lease_until = now() + interval '1 hour' where id = $1",
    [held.id, held.owner],
  )
  await markDead(database.db, { ...held, ...failure })
  expect(await retryDeadSettlement(database.db, held.id)).toBe(true)
  expect(await topics()).toEqual([
    'weather settlement.failed',
    'maps settlement.failed',
    'weather settlement.dead',
    'maps settlement.dead',
  ])
  const attempts = (await messages()).map(({ payload }) => [payload.attempts, payload.errorCode])
  expect(attempts).toEqual([1, 1, 2, 2].map((number) => [number, 'chain.unavailable']))
})

test('a reorganisation that takes a settlement back is told', async () => {
  const checkedAt = new Date()
  const name = `indexer-${randomHex(4)}`
  const block = { number: 100n, hash: randomHex(32) }
  const nothing = { events: [], grants: [], grantStates: [], accounts: [], channels: [], checkedAt }
  await advance(database.db, { name, from: undefined, blocks: [block], ...nothing })
  const { id, txHash } = await confirm(101n)
  await advance(database.db, { name, from: 100n, blocks: [{ number: 101n, hash: randomHex(32) }], ...nothing })
  await deleteAbove(database.db, { name, block, checkedAt })
  expect(await topics()).toEqual([
    'weather settlement.confirmed',
    'maps settlement.confirmed',
    'weather settlement.reopened',
    'maps settlement.reopened',
  ])
  expect((await messages()).at(-1)?.payload).toMatchObject({ settlementId: id, txHash, blockNumber: '101' })
})

test('nothing is told of a change that was rolled back', async () => {
  const failing = withService(database.db, async (tx) => {
    await updateGrantStates(tx, [{ ...grant, status: 'revoked', blockNumber: 101n }])
    throw new Error('wanted')
  })
  await expect(failing).rejects.toThrow('wanted')
  expect(await messages()).toEqual([])
})

test('what the chain did to a grant is told once, however often the mirror writes it', async () => {
  for (const status of ['active', 'frozen', 'frozen', 'active', 'revoked', 'revoked'] as const) {
    await updateGrantStates(database.db, [{ ...grant, status, blockNumber: 101n }])
  }
  const told = (await messages()).filter(({ merchant }) => merchant === 'weather')
  expect(told.map(({ topic, payload }) => [topic, payload.by, payload.status])).toEqual([
    ['grant.frozen', 'chain', 'frozen'],
    ['grant.unfrozen', 'chain', 'active'],
    ['grant.revoked', 'chain', 'revoked'],
  ])
})

test('a freeze at the gateway is told with its reason, by the operator to all and by a merchant to themselves', async () => {
  const { db } = database
  const { grantId } = grant
  await freezeGrant(db, { grantId, merchantId: null, holder: 'operator', reason: 'fraud', actor: 'sentinel' })
  await freezeGrant(db, { grantId, merchantId: null, holder: 'operator', reason: 'fraud again', actor: 'sentinel' })
  await withTenant(db, maps.merchant.id, (tx) =>
    freezeGrant(tx, { grantId, merchantId: maps.merchant.id, holder: 'merchant', reason: 'abuse', actor: 'key_1' }),
  )
  await unfreezeGrant(db, { grantId, merchantId: null, holders: ['operator'] })
  await setControl(db, {
    grantId,
    merchantId: null,
    holder: 'operator',
    state: 'removed',
    reason: 'gone',
    actor: 'operator',
  })
  const told = (await messages()).map(({ topic, merchant, payload: { by, reason, status } }) => {
    return `${merchant} ${topic} ${by} ${reason} ${status}`
  })
  expect(told.toSorted()).toEqual([
    'maps grant.frozen merchant abuse frozen',
    'maps grant.frozen operator fraud frozen',
    'maps grant.revoked operator gone revoked',
    // Their own freeze still holds.
    'maps grant.unfrozen operator null frozen',
    'weather grant.frozen operator fraud frozen',
    'weather grant.revoked operator gone revoked',
    'weather grant.unfrozen operator null active',
  ])
})

test('what an account does to all of its grants at once is told for each', async () => {
  const { account } = grant
  const row = { account, token: grant.terms.token, balance: 1n, allowance: 1n, guardian: account, accountFrozen: false }
  const set = (change: { accountFrozen?: boolean; epoch?: bigint }, blockNumber: bigint) =>
    upsertAccountsFromChain(database.db, [{ ...row, epoch: 0n, ...change, blockNumber }])
  await set({ accountFrozen: true }, 101n)
  await set({ accountFrozen: false }, 102n)
  await set({ epoch: 1n }, 103n)
  expect((await topics()).filter((topic) => topic.startsWith('maps'))).toEqual([
    'maps grant.frozen',
    'maps grant.unfrozen',
    'maps grant.revoked',
  ])
})

test('money that is asked back from a reserve is told to the merchants that its grants may owe', async () => {
  const { db } = database
  const account = randomAddress()
  const prepaid = await arrangeGrant(db, [weather.merchant], { account, source: 'reserve' })
  await arrangeGrant(db, [maps.merchant], { account })
  const row = {
    account,
    token: prepaid.terms.token,
    balance: 1n,
    allowance: 1n,
    guardian: account,
    accountFrozen: false,
  }
  const set = (withdrawing: bigint, blockNumber: bigint) =>
    upsertAccountsFromChain(db, [
      { ...row, epoch: 0n, reserve: { balance: 50n, withdrawing, withdrawableAt: 1_800_000_000 }, blockNumber },
    ])
  await set(0n, 101n)
  await set(20n, 102n)
  await set(20n, 103n)
  await set(0n, 104n)
  expect(await messages()).toEqual([
    {
      topic: 'reserve.withdrawal_requested',
      merchant: 'weather',
      payload: {
        account: account.toLowerCase(),
        token: prepaid.terms.token.toLowerCase(),
        balanceAtomic: '50',
        withdrawingAtomic: '20',
        withdrawableAt: 1_800_000_000,
      },
    },
  ])
})

test('a tenant cannot make the database tell what is not true', async () => {
  const forged = (statement: ReturnType<typeof sql>) =>
    withTenant(database.db, maps.merchant.id, (tx) => tx.execute(statement)).then(
      () => 'allowed',
      (error: Error) => String(error.cause),
    )
  const call = sql`select webhook_grant_changed('grant.revoked', ${grant.grantId}, null, 'chain', null)`
  expect(await forged(call)).toContain('permission denied')
  const insert = sql`insert into outbox (topic, merchant_id, payload) values ('grant.revoked', ${maps.merchant.id}, '{}')`
  expect(await forged(insert)).toContain('permission denied')
})
