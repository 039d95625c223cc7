import type { Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { listAudit } from '../audit/auditEntries.ts'
import type { GrantFromChain } from '../grants/mirror.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent } from '../testing/fixtures.ts'
import { claimSettlement } from './claimSettlement.ts'
import { retryDeadLetter, writeOffDeadLetter } from './deadLetters.ts'
import { listClaimable } from './listClaimable.ts'
import { markDead } from './outcomes.ts'
import { requestSettlement } from './requestSettlement.ts'
import { getSettlement, listSettlements } from './settlements.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date()
const act = { actor: 'key_1', note: 'the session key signed again' }

type Owing = { grant: GrantFromChain; seller: Awaited<ReturnType<typeof arrangeMerchant>> }

async function arrangeOwing(amount: bigint): Promise<Owing> {
  const seller = await arrangeMerchant(database.db)
  const grant = await arrangeGrant(database.db, [seller.merchant])
  await charge({ grant, seller }, amount, amount)
  return { grant, seller }
}

async function charge({ grant, seller }: Owing, amount: bigint, cumulativeAmount: bigint): Promise<Hex> {
  const event = chargeEvent(grant, seller, { amount, cumulativeAmount, occurredAtMs: now.getTime() })
  await appendCharges(database.db, [event])
  return event.signature
}

function claim({ grant: { grantId } }: Owing, trigger: 'threshold' | 'request' = 'threshold') {
  return claimSettlement(database.db, { grantId, trigger, leaseOwner: 'one', leaseMs: 60_000, now })
}

async function claimable({ grant: { grantId } }: Owing) {
  const due = await listClaimable(database.db, { now, limit: 1_000, expiryMarginSeconds: 0 })
  return due.find((one) => one.grantId === grantId)
}

async function arrangeDead(owing: Owing): Promise<string> {
  const id = (await claim(owing))?.settlement.id ?? ''
  const failure = {
    id,
    owner: 'one',
    reason: 'voucher_invalid',
    errorCode: 'voucher.signature',
    errorMessage: 'not signed',
  } as const
  expect(await markDead(database.db, failure)).toBe(true)
  return id
}

test('a retry is due at once with the newest voucher for the same amount, and is audited with what it was before', async () => {
  const owing = await arrangeOwing(10_000_000n)
  const id = await arrangeDead(owing)
  const signature = await charge(owing, 1n, 10_000_001n)
  expect(await retryDeadLetter(database.db, { ...act, id })).toBe(true)
  const settlement = await getSettlement(database.db, id)
  expect(settlement).toMatchObject({ state: 'failed', attempts: 0, nextAttemptAt: null })
  expect(settlement?.items).toMatchObject([{ amount: 10_000_000n, cumulativeAmount: 10_000_001n, signature }])
  const { items } = await listAudit(database.db, { subject: id })
  expect(items).toMatchObject([
    {
      ...act,
      action: 'settlement_retry',
      before: { state: 'dead', attempts: 1, errorCode: 'voucher.signature' },
      after: { state: 'failed', attempts: 0 },
    },
  ])
})

test('a written-off debt is not collected again until more is charged, or somebody asks', async () => {
  const owing = await arrangeOwing(10_000_000n)
  const id = await arrangeDead(owing)
  expect(await writeOffDeadLetter(database.db, { ...act, id, reason: 'voucher_invalid' })).toBe(true)
  expect(await claimable(owing)).toBeUndefined()
  expect(await claim(owing)).toBeUndefined()
  const [kept] = await database.query<{ reason: string; amount: string; actor: string }>(
    'select reason, amount, actor from settlement_write_off where settlement_id = $1',
    [id],
  )
  expect(kept).toEqual({ reason: 'voucher_invalid', amount: '10000000', actor: 'key_1' })
  expect((await listAudit(database.db, { subject: id })).items).toMatchObject([
    {
      action: 'settlement_write_off',
      before: { state: 'dead', writtenOffAt: null },
      after: { state: 'dead', writtenOffAt: expect.any(String), reason: 'voucher_invalid', amountAtomic: '10000000' },
    },
  ])

  await requestSettlement(database.db, { grantId: owing.grant.grantId, merchantId: null, actor: 'operator' })
  expect(await claimable(owing)).toMatchObject({ trigger: 'request', owed: 10_000_000n })
  await database.query('delete from settlement_request where grant_id = $1', [owing.grant.grantId])
  await charge(owing, 1n, 10_000_001n)
  expect(await claimable(owing)).toMatchObject({ trigger: 'threshold', owed: 10_000_001n })
  expect((await claim(owing))?.items).toMatchObject([{ amount: 10_000_001n }])
})

test('what is not dead, or was written off, is neither retried nor written off, and nothing is audited', async () => {
  const owing = await arrangeOwing(10_000_000n)
  const open = (await claim(owing))?.settlement.id ?? ''
  const none = `stl_${'0'.repeat(32)}`
  const writtenOff = await arrangeDead(await arrangeOwing(10_000_000n))
  await writeOffDeadLetter(database.db, { ...act, id: writtenOff, reason: 'other' })
  const before = (await listAudit(database.db)).items.length
  for (const id of [open, none, writtenOff]) {
    expect(await retryDeadLetter(database.db, { ...act, id })).toBe(false)
    expect(await writeOffDeadLetter(database.db, { ...act, id, reason: 'other' })).toBe(false)
  }
  expect((await listAudit(database.db)).items).toHaveLength(before)
  expect(await getSettlement(database.db, open)).toMatchObject({ state: 'pending', writtenOffAt: null })
  const isListed = async (wanted: boolean) => {
    const { items } = await listSettlements(database.db, { state: 'dead', writtenOff: wanted, limit: 200 })
    return items.some(({ id }) => id === writtenOff)
  }
  expect([await isListed(true), await isListed(false)]).toEqual([true, false])
})
