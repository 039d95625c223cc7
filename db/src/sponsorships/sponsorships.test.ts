import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createMerchant } from '../merchants/merchants.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { randomAddress, randomHex } from '../testing/fixtures.ts'
import {
  bookSponsorship,
  expireSponsorships,
  gasUsedToday,
  getSponsorship,
  type Reservation,
  reserveSponsorship,
} from './sponsorships.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date(Date.UTC(2026, 10, 21, 23, 59))
const validUntil = new Date(now.getTime() + 300_000)

async function arrangeMerchantId(gasBudgetWeiPerDay: bigint): Promise<string> {
  return (await createMerchant(database.db, { name: 'm', payee: randomAddress(), gasBudgetWeiPerDay })).id
}

function reserve(change: Partial<Reservation>) {
  return reserveSponsorship(database.db, {
    userOpHash: randomHex(32),
    sender: randomAddress(),
    kind: 'settle',
    maxCostWei: 0n,
    validUntil,
    now,
    shares: [],
    ...change,
  })
}

test("a day's reservations stay within the merchant's budget, to the wei", async () => {
  const merchantId = await arrangeMerchantId(100n)
  expect(await reserve({ maxCostWei: 60n, shares: [{ merchantId, maxCostWei: 60n }] })).toEqual({ ok: true })
  expect(await reserve({ maxCostWei: 41n, shares: [{ merchantId, maxCostWei: 41n }] })).toEqual({
    ok: false,
    code: 'budget.merchant',
    merchantId,
    budgetWei: 100n,
    usedWei: 60n,
  })
  expect(await reserve({ maxCostWei: 40n, shares: [{ merchantId, maxCostWei: 40n }] })).toEqual({ ok: true })
  expect(await gasUsedToday(database.db, merchantId, now)).toBe(100n)
})

test('reservations at once cannot exceed a budget together', async () => {
  const [first, second] = [await arrangeMerchantId(100n), await arrangeMerchantId(1_000n)]
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, index) => {
      const shares = [first, second].map((merchantId) => ({ merchantId, maxCostWei: 15n }))
      return reserve({ maxCostWei: 30n, shares: index % 2 === 0 ? shares : shares.toReversed() })
    }),
  )
  expect(results.filter(({ ok }) => ok)).toHaveLength(6)
  expect(await gasUsedToday(database.db, first, now)).toBe(90n)
  // A refusal reserves nothing at the other merchant either.
  expect(await gasUsedToday(database.db, second, now)).toBe(90n)
})

test('a UserOperation is reserved once, however often and whenever it is asked for', async () => {
  const merchantId = await arrangeMerchantId(100n)
  const again = { userOpHash: randomHex(32), maxCostWei: 100n, shares: [{ merchantId, maxCostWei: 100n }] }
  const results = await Promise.all(Array.from({ length: 5 }, () => reserve(again)))
  expect(results).toEqual(Array.from({ length: 5 }, () => ({ ok: true })))
  expect(await gasUsedToday(database.db, merchantId, now)).toBe(100n)
})

test('what was not needed is free again once it is booked', async () => {
  const [first, second] = [await arrangeMerchantId(100n), await arrangeMerchantId(100n)]
  const userOpHash = randomHex(32)
  const shares = [
    { merchantId: first, maxCostWei: 60n },
    { merchantId: second, maxCostWei: 30n },
  ]
  await reserve({ userOpHash, maxCostWei: 90n, shares })
  expect(await bookSponsorship(database.db, { userOpHash, actualCostWei: 31n, now })).toBe(true)
  expect(await bookSponsorship(database.db, { userOpHash, actualCostWei: 99n, now })).toBe(false)
  expect(await getSponsorship(database.db, userOpHash)).toMatchObject({
    state: 'spent',
    actualCostWei: 31n,
    bookedAt: now,
  })
  const used = [await gasUsedToday(database.db, first, now), await gasUsedToday(database.db, second, now)]
  expect(used).toEqual([20n, 11n])
})

test('an expired reservation is free again, and is booked all the same if it was included', async () => {
  const merchantId = await arrangeMerchantId(100n)
  const userOpHash = randomHex(32)
  await reserve({ userOpHash, maxCostWei: 100n, shares: [{ merchantId, maxCostWei: 100n }] })
  expect(await expireSponsorships(database.db, validUntil)).toBe(0)
  expect(await gasUsedToday(database.db, merchantId, now)).toBe(100n)
  expect(await expireSponsorships(database.db, new Date(validUntil.getTime() + 1))).toBeGreaterThan(0)
  expect(await getSponsorship(database.db, userOpHash)).toMatchObject({ state: 'expired' })
  expect(await gasUsedToday(database.db, merchantId, now)).toBe(0n)
  expect(await bookSponsorship(database.db, { userOpHash, actualCostWei: 70n, now })).toBe(true)
  expect(await gasUsedToday(database.db, merchantId, now)).toBe(70n)
})

test('the budget is of the UTC day', async () => {
  const merchantId = await arrangeMerchantId(100n)
  const shares = [{ merchantId, maxCostWei: 100n }]
  expect(await reserve({ maxCostWei: 100n, shares })).toEqual({ ok: true })
  const tomorrow = new Date(Date.UTC(2026, 10, 22))
  expect(await reserve({ maxCostWei: 100n, shares, now: tomorrow })).toEqual({ ok: true })
  expect(await reserve({ maxCostWei: 1n, shares: [{ merchantId, maxCostWei: 1n }], now: tomorrow })).toMatchObject({
    ok: false,
  })
})

test('what no merchant bears is bounded by kind and by sender', async () => {
  const limits = { kind: 'onboarding', maxCostWei: 10n, kindBudgetWeiPerDay: 45n, maxPerSenderPerDay: 2 }
  const sender = randomAddress()
  const one = await Promise.all([1, 2, 3].map(() => reserve({ ...limits, sender })))
  expect(one.filter(({ ok }) => ok)).toHaveLength(2)
  expect(one.find(({ ok }) => !ok)).toEqual({ ok: false, code: 'budget.sender', maxPerDay: 2 })
  const others = await Promise.all([1, 2, 3, 4].map(() => reserve(limits)))
  expect(others.filter(({ ok }) => ok)).toHaveLength(2)
  expect(others.find(({ ok }) => !ok)).toEqual({ ok: false, code: 'budget.kind', budgetWei: 45n, usedWei: 40n })
  expect(await reserve({ ...limits, kind: 'another' })).toEqual({ ok: true })
})

test('nobody pays for a merchant that does not exist', async () => {
  const merchantId = 'mer_none'
  expect(await reserve({ shares: [{ merchantId, maxCostWei: 1n }] })).toEqual({
    ok: false,
    code: 'merchant.unknown',
    merchantId,
  })
})
