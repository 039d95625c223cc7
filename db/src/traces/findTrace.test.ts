import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { createDb, type Db } from '../createDb.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { claimSettlement } from '../settlements/claimSettlement.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomHex } from '../testing/fixtures.ts'
import { chargesOfSettlement } from './chargesOfSettlement.ts'
import { findTrace } from './findTrace.ts'

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
const traceOf = (index: number) => `${index}`.padStart(32, 'a')

/** Three charges of 10, each with a trace id, a claim of the first two, and the hashes of its operation. */
async function arrange() {
  const shop = await arrangeMerchant(db)
  const grant = await arrangeGrant(db, [shop.merchant])
  const events = [1, 2, 3].map((index) => ({
    ...chargeEvent(grant, shop, {
      amount: 10n,
      cumulativeAmount: BigInt(index) * 10n,
      occurredAtMs: startMs + index * 1_000,
    }),
    requestId: `request-${randomHex(8)}`,
    traceId: randomHex(16).slice(2),
  }))
  await appendCharges(db, events.slice(0, 2))
  const now = new Date(startMs + 2_500)
  const work = await claimSettlement(db, {
    grantId: grant.grantId,
    trigger: 'request',
    leaseOwner: 'w',
    leaseMs: 1,
    now,
  })
  if (!work) throw new Error('nothing was claimed')
  await appendCharges(db, events.slice(2))
  const { id } = work.settlement
  const [earlier, userOpHash, txHash] = [randomHex(32), randomHex(32), randomHex(32)]
  await database.query(
    `update settlement set state = 'confirmed', user_op_hash = $2, earlier_user_op_hashes = array[$3], tx_hash = $4,
       block_number = 7, updated_at = $5 where id = $1`,
    [id, userOpHash, earlier, txHash, new Date(startMs + 4_000)],
  )
  return { grant, events, id, userOpHash, earlier, txHash }
}

describe('a trace', () => {
  test('is found by request, trace id, settlement, its trace id, any of its operations and its transaction', async () => {
    const { events, id, userOpHash, earlier, txHash } = await arrange()
    const [first] = events
    if (!first?.traceId) throw new Error('no event')
    const byRequest = await findTrace(db, first.requestId)
    expect(byRequest).toMatchObject({
      charges: [
        { eventId: first.eventId, traceId: first.traceId, settlementIds: [id], journalledAt: expect.any(Date) },
      ],
      settlements: [{ id, state: 'confirmed', userOpHash, txHash, items: [{ amount: 20n }] }],
    })
    expect(await findTrace(db, first.traceId.toUpperCase())).toEqual(byRequest)
    for (const name of [id, id.slice('stl_'.length), userOpHash, earlier, txHash]) {
      const trace = await findTrace(db, name)
      expect(trace?.settlements.map((settlement) => settlement.id)).toEqual([id])
      // Newest first, and not the one that came after the claim.
      expect(trace?.charges.map(({ eventId }) => eventId)).toEqual([events[1]?.eventId, first.eventId])
    }
  })

  test('of a charge that no settlement has claimed ends at the journal', async () => {
    const { events } = await arrange()
    const trace = await findTrace(db, events[2]?.requestId ?? '')
    expect(trace).toMatchObject({ charges: [{ eventId: events[2]?.eventId, settlementIds: [] }], settlements: [] })
  })

  test('of a name that nothing has is undefined', async () => {
    for (const name of ['request-unknown-0000', traceOf(0), `stl_${traceOf(0)}`, randomHex(32), '', "'"]) {
      expect(await findTrace(db, name)).toBeUndefined()
    }
  })
})

test('the charges of a settlement begin after the one that was confirmed before it, and are bounded', async () => {
  const { grant, events, id } = await arrange()
  const now = new Date(startMs + 9_000)
  // The mirror has seen the block of the first.
  await database.query("insert into indexer_cursor values ('module', 7, $1, now())", [randomHex(32)])
  await database.query('update channel set settled = 20 where grant_id = $1', [grant.grantId])
  const next = await claimSettlement(db, {
    grantId: grant.grantId,
    trigger: 'request',
    leaseOwner: 'w',
    leaseMs: 1,
    now,
  })
  if (!next) throw new Error('nothing was claimed')
  const idsOf = async (settlementId: string, limit: number) =>
    (await chargesOfSettlement(db, settlementId, { limit })).map(({ eventId }) => eventId)
  expect(await idsOf(next.settlement.id, 10)).toEqual([events[2]?.eventId])
  expect(await idsOf(id, 1)).toEqual([events[1]?.eventId])
})
