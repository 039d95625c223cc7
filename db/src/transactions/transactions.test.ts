import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { appendCharges } from '../journal/appendCharges.ts'
import { claimSettlement } from '../settlements/claimSettlement.ts'
import { markConfirmed, markDead } from '../settlements/outcomes.ts'
import { getSettlement } from '../settlements/settlements.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress, randomHex } from '../testing/fixtures.ts'
import { leaseDue } from '../testing/leaseDue.ts'
import { leaseOpenTransaction } from './leaseOpenTransaction.ts'
import {
  closeTransaction,
  listRawTransactions,
  listTransactions,
  markTransactionSent,
  openTransaction,
  recordTransaction,
  releaseTransaction,
  renewTransactionLease,
} from './transactions.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date(Date.UTC(2026, 10, 21, 12))
const later = (seconds: number) => new Date(now.getTime() + seconds * 1_000)
const leaseMs = 60_000

/** Settlements of accounts of their own, leased to `owner`. */
async function arrangeSettlements(count: number, owner = 'one'): Promise<string[]> {
  const ids: string[] = []
  for (let index = 0; index < count; index++) {
    const seller = await arrangeMerchant(database.db)
    const grant = await arrangeGrant(database.db, [seller.merchant])
    const charge = { amount: 10_000_000n, cumulativeAmount: 10_000_000n, occurredAtMs: now.getTime() }
    await appendCharges(database.db, [chargeEvent(grant, seller, charge)])
    const { grantId } = grant
    const claim = { grantId, trigger: 'threshold', leaseOwner: owner, leaseMs, now } as const
    ids.push((await claimSettlement(database.db, claim))?.settlement.id ?? '')
  }
  return ids
}

const open = (sender: ReturnType<typeof randomAddress>, settlementIds: string[], owner = 'one') =>
  openTransaction(database.db, { sender, settlementIds, owner, leaseMs, now })
const lease = (sender: ReturnType<typeof randomAddress>, owner: string, at: Date) =>
  leaseOpenTransaction(database.db, { sender, owner, leaseMs, now: at })
const ended = () =>
  ({ state: 'confirmed', txHash: randomHex(32), blockNumber: 7n, gasUsed: 400_000n, gasCostWei: 5n }) as const

test('a sender has one open transaction at a time, whoever asks', async () => {
  const sender = randomAddress()
  const groups = await Promise.all(Array.from({ length: 5 }, (_, index) => arrangeSettlements(1, `w${index}`)))
  const opened = await Promise.all(groups.map((ids, index) => open(sender, ids, `w${index}`)))
  expect(opened.filter((one) => one !== undefined)).toHaveLength(1)
  expect((await listTransactions(database.db, { sender })).items).toHaveLength(1)
  expect(await open(randomAddress(), await arrangeSettlements(1))).toMatchObject({ state: 'open', nonce: null })
})

test('it opens only with settlements that are all ours', async () => {
  const [mine = ''] = await arrangeSettlements(1)
  const [theirs = ''] = await arrangeSettlements(1, 'two')
  expect(await open(randomAddress(), [mine, theirs])).toBeUndefined()
  expect(await open(randomAddress(), [mine])).toBeDefined()
})

test('whoever takes it up after a crash finds what may have been sent, and the settlements in their order', async () => {
  const sender = randomAddress()
  const ids = (await arrangeSettlements(3)).toReversed()
  const { id = '' } = (await open(sender, ids)) ?? {}
  const [first, second] = [randomHex(32), randomHex(32)]
  const held = { id, owner: 'one', nonce: 4 }
  expect(await recordTransaction(database.db, { ...held, rawTransaction: '0x02aa', hash: first })).toBe(true)
  expect(await markTransactionSent(database.db, { ...held, now })).toBe(true)
  expect(await markTransactionSent(database.db, { ...held, now: later(5) })).toBe(true)
  expect((await listTransactions(database.db, { sender })).items).toMatchObject([{ sentAt: now }])
  expect(await recordTransaction(database.db, { ...held, rawTransaction: '0x02bb', hash: second })).toBe(true)

  const raws = (from: number, below: number) => listRawTransactions(database.db, { sender, from, below })
  expect(await raws(4, 5)).toEqual(['0x02bb'])
  expect([...(await raws(3, 4)), ...(await raws(5, 9))]).toEqual([])

  expect(await lease(sender, 'two', later(59))).toEqual({ kind: 'busy' })
  const taken = await lease(sender, 'two', later(60))
  if (taken.kind !== 'leased') throw new Error(`It is ${taken.kind}.`)
  expect(taken.transaction).toMatchObject({
    id,
    nonce: 4,
    rawTransaction: '0x02bb',
    hashes: [first, second],
    sentAt: null,
  })
  expect(taken.works.map(({ settlement }) => settlement.id)).toEqual(ids)
  expect(taken.works[0]).toMatchObject({
    settlement: { state: 'intended', leaseOwner: 'two' },
    transactions: [{ id, hashes: [first, second] }],
  })

  // The first can no longer write anything.
  expect(await recordTransaction(database.db, { ...held, rawTransaction: '0x02cc', hash: first })).toBe(false)
  expect(await markTransactionSent(database.db, { ...held, now })).toBe(false)
  expect(await renewTransactionLease(database.db, { ...held, until: later(500) })).toBe(false)
  expect(await releaseTransaction(database.db, { ...held, nextAttemptAt: now })).toBe(false)
  expect(await closeTransaction(database.db, { ...held, end: { state: 'lost' } }, async () => {})).toBe(false)
})

test('many workers at once: one takes it up', async () => {
  const sender = randomAddress()
  await open(sender, await arrangeSettlements(2))
  const taken = await Promise.all(Array.from({ length: 6 }, (_, index) => lease(sender, `w${index}`, later(61))))
  expect(taken.map(({ kind }) => kind).toSorted()).toEqual(['busy', 'busy', 'busy', 'busy', 'busy', 'leased'])
})

test('a settlement that another worker took over stays with that one', async () => {
  const sender = randomAddress()
  const [first = '', second = ''] = await arrangeSettlements(2)
  await open(sender, [first, second])
  const due = await leaseDue(database.db, { owner: 'other', leaseMs, now: later(61) })
  expect(due.map(({ settlement }) => settlement.id)).toEqual(expect.arrayContaining([first, second]))
  const confirmed = { ...ended(), userOpHash: randomHex(32), items: [] }
  const { state: _, ...outcome } = confirmed
  await markConfirmed(database.db, { id: first, owner: 'other', ...outcome })
  expect(await lease(sender, 'one', later(62))).toMatchObject({ kind: 'leased', works: [] })
})

test('renewing holds the transaction and its settlements; a release gives it to whoever asks first', async () => {
  const sender = randomAddress()
  const ids = await arrangeSettlements(2)
  const { id = '' } = (await open(sender, ids)) ?? {}
  expect(await renewTransactionLease(database.db, { id, owner: 'one', until: later(300) })).toBe(true)
  expect(await lease(sender, 'two', later(299))).toEqual({ kind: 'busy' })
  const due = await leaseDue(database.db, { owner: 'two', leaseMs, now: later(299) })
  expect(due.filter(({ settlement }) => ids.includes(settlement.id))).toEqual([])
  expect(await releaseTransaction(database.db, { id, owner: 'one', nextAttemptAt: later(360) })).toBe(true)
  expect(await lease(sender, 'two', later(299))).toMatchObject({ kind: 'leased', works: [{}, {}] })
})

test('its end and the outcomes of its settlements are written together or not at all', async () => {
  const sender = randomAddress()
  const [paid = '', refused = ''] = await arrangeSettlements(2)
  const { id = '' } = (await open(sender, [paid, refused])) ?? {}
  const held = { id, owner: 'one' }
  const end = ended()
  await expect(
    closeTransaction(database.db, { ...held, end }, async (tx) => {
      await markDead(tx, {
        id: refused,
        owner: 'one',
        reason: 'grant_ended',
        errorCode: 'grant.revoked',
        errorMessage: 'x',
      })
      throw new Error('Postgres is gone.')
    }),
  ).rejects.toThrow('Postgres is gone.')
  expect(await getSettlement(database.db, refused)).toMatchObject({ state: 'pending' })
  expect((await listTransactions(database.db, { sender })).items).toMatchObject([{ state: 'open' }])

  const { state: _, ...outcome } = end
  const write = async (tx: Parameters<Parameters<typeof closeTransaction>[2]>[0]) => {
    await markConfirmed(tx, { id: paid, owner: 'one', userOpHash: null, ...outcome, items: [] })
    await markDead(tx, {
      id: refused,
      owner: 'one',
      reason: 'grant_ended',
      errorCode: 'grant.revoked',
      errorMessage: 'x',
    })
  }
  expect(await closeTransaction(database.db, { ...held, end }, write)).toBe(true)
  expect(await getSettlement(database.db, paid)).toMatchObject({
    state: 'confirmed',
    userOpHash: null,
    blockNumber: 7n,
  })
  expect(await getSettlement(database.db, refused)).toMatchObject({ state: 'dead' })
  expect((await listTransactions(database.db, { sender })).items).toMatchObject([end])
  expect(await lease(sender, 'two', later(600))).toEqual({ kind: 'none' })
})
