import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createDb, type Db } from '../createDb.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { claimSettlement } from '../settlements/claimSettlement.ts'
import { gasOfDay } from '../sponsorships/gasOfDay.ts'
import { bookSponsorship, reserveSponsorship } from '../sponsorships/sponsorships.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress, randomHex } from '../testing/fixtures.ts'
import { readFigures } from './readFigures.ts'

let database: TestDatabase
let db: Db
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  db = createDb({ url: database.url, onError: () => {} })
})
afterAll(async () => {
  await db.close()
  await database.drop()
})

const startMs = 1_763_722_800_000
const now = new Date(startMs + 60_000)

test('without anything there is nothing owed, open or waiting', async () => {
  expect(await readFigures(db)).toEqual({
    outstanding: { allowance: 0n, reserve: 0n },
    oldestClaimAt: null,
    settlements: [],
    failures: [],
    webhooksWaiting: 0,
    quarantinedEvents: 0,
    blockedPayees: 0,
  })
})

test('what is owed is told by source, with the oldest, and settlements by state and reason', async () => {
  const shop = await arrangeMerchant(db)
  const owe = async (amount: bigint, occurredAtMs: number, source: 'allowance' | 'reserve') => {
    const grant = await arrangeGrant(db, [shop.merchant], { source })
    await appendCharges(db, [chargeEvent(grant, shop, { amount, cumulativeAmount: amount, occurredAtMs })])
    return grant
  }
  const claim = async (grantId: `0x${string}`, change: string) => {
    const work = await claimSettlement(db, { grantId, trigger: 'request', leaseOwner: 'w', leaseMs: 1, now })
    if (!work) throw new Error('nothing was claimed')
    await database.query(`update settlement set ${change} where id = $1`, [work.settlement.id])
  }
  await owe(7n, startMs, 'reserve')
  await owe(100n, startMs - 5_000, 'allowance')
  const [open, failed, dead, writtenOff] = [
    await owe(1n, startMs, 'allowance'),
    await owe(2n, startMs, 'allowance'),
    await owe(3n, startMs, 'allowance'),
    await owe(4n, startMs, 'allowance'),
  ]
  await claim(open.grantId, "state = 'pending'")
  await claim(failed.grantId, "state = 'failed', failure_reason = 'fees_too_high'")
  await claim(dead.grantId, "state = 'dead', failure_reason = 'grant_ended'")
  await claim(writtenOff.grantId, "state = 'dead', failure_reason = 'grant_ended', written_off_at = now()")

  const figures = await readFigures(db)
  expect(figures.outstanding).toEqual({ allowance: 110n, reserve: 7n })
  expect(figures.oldestClaimAt).toEqual(new Date(startMs - 5_000))
  expect(figures.settlements.toSorted((a, b) => a.state.localeCompare(b.state))).toEqual([
    { state: 'dead', count: 1 },
    { state: 'failed', count: 1 },
    { state: 'pending', count: 1 },
  ])
  expect(figures.failures.toSorted((a, b) => a.state.localeCompare(b.state))).toEqual([
    { state: 'dead', reason: 'grant_ended', count: 1 },
    { state: 'failed', reason: 'fees_too_high', count: 1 },
  ])
})

test('the gas of a day is what operations cost and may cost, by kind; merchants near their budget are counted', async () => {
  const { merchant } = await arrangeMerchant(db)
  const reserve = async (kind: string, maxCostWei: bigint, merchantId?: string, at = now) => {
    const userOpHash = randomHex(32)
    const shares = merchantId === undefined ? [] : [{ merchantId, maxCostWei }]
    const validUntil = new Date(at.getTime() + 300_000)
    const common = { userOpHash, sender: randomAddress(), kind, maxCostWei, validUntil, now: at, shares }
    expect(await reserveSponsorship(db, common)).toEqual({ ok: true })
    return userOpHash
  }
  await database.query('update merchant set gas_budget_wei_per_day = 1000 where id = $1', [merchant.id])
  const booked = await reserve('settlement', 500n, merchant.id)
  await bookSponsorship(db, { userOpHash: booked, actualCostWei: 300n, now })
  await reserve('settlement', 200n, merchant.id)
  await reserve('operator', 50n)
  await reserve('operator', 9_000n, undefined, new Date(now.getTime() - 86_400_000))
  expect(await gasOfDay(db, now)).toEqual({
    byKind: [
      { kind: 'operator', wei: 50n },
      { kind: 'settlement', wei: 500n },
    ],
    merchantsNearBudget: 0,
  })
  await reserve('settlement', 400n, merchant.id)
  expect((await gasOfDay(db, now)).merchantsNearBudget).toBe(1)
})
