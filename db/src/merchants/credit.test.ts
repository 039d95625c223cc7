import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { listAudit } from '../audit/auditEntries.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { listAllServices } from '../services/services.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress, usdc } from '../testing/fixtures.ts'
import { withTenant } from '../withTenant.ts'
import { getMerchantCredit, setMerchantCredit } from './credit.ts'
import { listCreditDebtors } from './listCreditDebtors.ts'
import { exposureActor, requestExposedSettlements } from './requestExposedSettlements.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date()
let occurredAtMs = now.getTime() - 60_000

type Seller = Awaited<ReturnType<typeof arrangeMerchant>>

async function owe(seller: Seller, amount: bigint, change: Parameters<typeof arrangeGrant>[2] = {}) {
  const grant = await arrangeGrant(database.db, [seller.merchant], change)
  occurredAtMs++
  await appendCharges(database.db, [chargeEvent(grant, seller, { amount, cumulativeAmount: amount, occurredAtMs })])
  return grant
}

async function asked(): Promise<{ grant_id: string; actor: string }[]> {
  const rows = await database.query<{ grant_id: string; actor: string }>(
    `select grant_id, actor from settlement_request where settlement_id is null order by grant_id`,
  )
  await database.query('delete from settlement_request')
  return rows
}

const request = (change: Partial<Parameters<typeof requestExposedSettlements>[1]> = {}) =>
  requestExposedSettlements(database.db, { now, token: usdc, limit: 10, ...change })

test('a choice replaces the one before under a higher version, each with an audit entry that says both', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const set = (policy: Parameters<typeof setMerchantCredit>[1]) => setMerchantCredit(database.db, policy)
  expect(await getMerchantCredit(database.db, merchant.id)).toEqual({ mode: 'credit', version: 0 })
  const by = { merchantId: merchant.id, actor: 'key_1' }
  const first = await set({ ...by, mode: 'credit', maxTotal: 2n ** 60n, maxPerGrant: 5n })
  expect(first).toMatchObject({ mode: 'credit', maxTotal: 2n ** 60n, maxPerAccount: undefined, maxPerGrant: 5n })
  const second = await set({ ...by, mode: 'reserve_only' })
  expect(second).toMatchObject({ mode: 'reserve_only', maxTotal: undefined, maxPerGrant: undefined })
  expect(second?.version).toBeGreaterThan(first?.version ?? Number.POSITIVE_INFINITY)
  expect(await getMerchantCredit(database.db, merchant.id)).toEqual(second)
  const audit = (await listAudit(database.db, { subject: merchant.id })).items
  expect(audit.map(({ action, actor }) => `${action} by ${actor}`)).toEqual([
    'credit_change by key_1',
    'credit_change by key_1',
  ])
  expect(audit[0]?.before).toMatchObject({ mode: 'credit', maxTotal: `${2n ** 60n}`, maxPerGrant: '5' })
  expect(audit[0]?.after).toMatchObject({ mode: 'reserve_only', maxTotal: null })
  expect(await set({ merchantId: 'mer_none', actor: 'key_1', mode: 'credit' })).toBeUndefined()
})

test('changes at once have a version each', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const versions = await Promise.all(
    Array.from({ length: 8 }, (_, index) =>
      setMerchantCredit(database.db, { merchantId: merchant.id, actor: 'a', mode: 'credit', maxTotal: BigInt(index) }),
    ),
  )
  expect(new Set(versions.map((credit) => credit?.version)).size).toBe(8)
})

test('a gateway reads the choice with the services, and a merchant sees no other’s', async () => {
  const [one, other] = [await arrangeMerchant(database.db), await arrangeMerchant(database.db)]
  await setMerchantCredit(database.db, { merchantId: one.merchant.id, actor: 'a', mode: 'credit', maxPerAccount: 7n })
  const services = await listAllServices(database.db)
  const creditOf = (id: string) => services.find((service) => service.id === id)?.credit
  expect(creditOf(one.service.id)).toMatchObject({ mode: 'credit', maxPerAccount: 7n })
  expect(creditOf(other.service.id)).toEqual({ mode: 'credit', version: 0 })
  const seenBy = (tenant: string) => withTenant(database.db, tenant, (tx) => getMerchantCredit(tx, one.merchant.id))
  expect(await seenBy(one.merchant.id)).toMatchObject({ maxPerAccount: 7n })
  expect(await seenBy(other.merchant.id)).toEqual({ mode: 'credit', version: 0 })
})

test('debtors on credit are listed page by page, each account once, none that is paid from a reserve', async () => {
  const seller = await arrangeMerchant(database.db)
  const account = randomAddress()
  const grants = [
    await owe(seller, 5n, { account }),
    await owe(seller, 5n, { account }),
    await owe(seller, 5n),
    await owe(seller, 5n),
  ]
  await owe(seller, 5n, { source: 'reserve' })
  await owe(await arrangeMerchant(database.db), 5n)
  const list = (after?: Parameters<typeof listCreditDebtors>[1]['after']) =>
    listCreditDebtors(database.db, { merchantId: seller.merchant.id, token: usdc, after, limit: 2 })
  const first = await list()
  const listed = [...first, ...(await list(first.at(-1)))]
  const byAddress = (accounts: string[]) => accounts.toSorted((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1))
  expect(listed).toEqual(byAddress([...new Set(grants.map((grant) => grant.account))]))
  expect(await list(listed.at(-1))).toEqual([])
})

test('a settlement is asked for once a debt takes half of a limit, of the grant, the account or the merchant', async () => {
  const seller = await arrangeMerchant(database.db)
  const by = { merchantId: seller.merchant.id, actor: 'a', mode: 'credit' } as const
  const account = randomAddress()
  const [small, large] = [await owe(seller, 20n, { account }), await owe(seller, 30n, { account })]
  const other = await owe(seller, 10n)
  const idsOf = (...grants: { grantId: string }[]) => grants.map(({ grantId }) => grantId).toSorted()
  const askedIds = async () => (await asked()).map(({ grant_id }) => grant_id)

  expect(await request()).toBe(0)
  await setMerchantCredit(database.db, { ...by, maxPerGrant: 60n })
  expect(await request()).toBe(1)
  expect(await request()).toBe(0)
  expect(await asked()).toEqual([{ grant_id: large.grantId, actor: exposureActor }])
  await setMerchantCredit(database.db, { ...by, maxPerAccount: 101n })
  expect(await request()).toBe(0)
  await setMerchantCredit(database.db, { ...by, maxPerAccount: 100n })
  expect(await request()).toBe(2)
  expect(await askedIds()).toEqual(idsOf(small, large))
  await setMerchantCredit(database.db, { ...by, maxTotal: 120n })
  expect(await request({ limit: 2 })).toBe(2)
  expect(await askedIds()).toEqual(idsOf(small, large))
  expect(await request()).toBe(3)
  expect(await askedIds()).toEqual(idsOf(small, large, other))
  await setMerchantCredit(database.db, { ...by, maxTotal: 121n })
  expect(await request()).toBe(0)
})

test('the operator’s bounds count all payees, and the reserve is never asked for', async () => {
  const [seller, second] = [await arrangeMerchant(database.db), await arrangeMerchant(database.db)]
  const grant = await arrangeGrant(database.db, [seller.merchant, second.merchant])
  for (const at of [seller, second]) {
    occurredAtMs++
    await appendCharges(database.db, [
      chargeEvent(grant, at, { amount: 500_000n, cumulativeAmount: 500_000n, occurredAtMs }),
    ])
  }
  await owe(seller, 5_000_000n, { source: 'reserve' })
  expect(await request({ maxPerGrant: 2_000_001n, maxPerAccount: 2_000_001n })).toBe(0)
  expect(await request({ maxPerGrant: 2_000_000n })).toBe(1)
  expect((await asked()).map(({ grant_id }) => grant_id)).toEqual([grant.grantId])
  expect(await request({ maxPerAccount: 2_000_000n })).toBe(1)
  expect((await asked()).map(({ grant_id }) => grant_id)).toEqual([grant.grantId])
})
