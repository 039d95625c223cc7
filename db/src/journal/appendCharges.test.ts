import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { getChannel } from '../grants/channels.ts'
import { upsertChannelsFromChain } from '../grants/mirror.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress, randomHex } from '../testing/fixtures.ts'
import { appendCharges, BatchTooLargeError } from './appendCharges.ts'
import { listCharges, recentRequests, usageOfGrant } from './journal.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const start = Date.UTC(2026, 10, 21, 12)

async function arrange() {
  const seller = await arrangeMerchant(database.db)
  const grant = await arrangeGrant(database.db, [seller.merchant])
  const channel = () => getChannel(database.db, grant.grantId, seller.merchant.payee)
  const charges = (count: number, firstMs = start) =>
    Array.from({ length: count }, (_, index) =>
      chargeEvent(grant, seller, {
        amount: 10n,
        cumulativeAmount: BigInt(index + 1) * 10n,
        occurredAtMs: firstMs + index,
      }),
    )
  return { seller, grant, channel, charges }
}

test('a batch is journalled once, however often it is repeated', async () => {
  const { charges, channel, grant } = await arrange()
  const batch = charges(1_000)
  expect(await appendCharges(database.db, batch)).toBe(1_000)
  expect(await appendCharges(database.db, batch)).toBe(0)
  expect(await appendCharges(database.db, [...batch.slice(500), ...batch.slice(0, 10)])).toBe(0)
  expect((await channel())?.charged).toBe(10_000n)
  expect(await usageOfGrant(database.db, grant)).toMatchObject({ calls: 1_000, charged: 10_000n })
})

test('a charge is listed with where it came from, or without where nobody told', async () => {
  const { charges, grant } = await arrange()
  const [first, second] = charges(2)
  if (!first || !second) throw new Error('no charges')
  await appendCharges(database.db, [{ ...first, client: '0123456789abcdef' }, second])
  const { items } = await listCharges(database.db, grant)
  expect(items.map(({ client }) => client)).toEqual([null, '0123456789abcdef'])
})

test('a charge of a channel that owes already writes no index of channels', async () => {
  const { charges } = await arrange()
  const [first, second] = charges(2)
  if (!first || !second) throw new Error('no charges')
  await appendCharges(database.db, [first])
  const written = await database.db.transaction(async (tx) => {
    // Of this connection, whose earlier transactions may be counted in it.
    const figures = async () => {
      const { rows } = await tx.execute<{ all: number; hot: number }>(
        sql`select n_tup_upd::int as all, n_tup_hot_upd::int as hot from pg_stat_xact_user_tables where relname = 'channel'`,
      )
      return rows[0] ?? { all: 0, hot: 0 }
    }
    const before = await figures()
    await appendCharges(tx, [second])
    const after = await figures()
    return { all: after.all - before.all, hot: after.hot - before.hot }
  })
  expect(written).toEqual({ all: 1, hot: 1 })
})

test('a charge twice in one batch counts once', async () => {
  const { charges, channel } = await arrange()
  const [charge] = charges(1)
  if (!charge) throw new Error('no charge')
  expect(await appendCharges(database.db, [charge, { ...charge }])).toBe(1)
  expect((await channel())?.charged).toBe(10n)
})

test('overlapping batches of several writers at once are each counted once', async () => {
  const { charges, channel } = await arrange()
  const all = charges(600)
  const slices = [all, all.slice(100, 500), [...all].reverse(), all.slice(300), all.slice(0, 300)]
  const inserted = await Promise.all(slices.map((slice) => appendCharges(database.db, slice)))
  expect(inserted.reduce((sum, count) => sum + count, 0)).toBe(600)
  expect((await channel())?.charged).toBe(6_000n)
})

test('the channel keeps the highest voucher, in whatever order vouchers come', async () => {
  const { charges, channel } = await arrange()
  const [low, middle, high] = charges(3)
  if (!low || !middle || !high) throw new Error('no charges')
  await appendCharges(database.db, [high])
  expect(await channel()).toMatchObject({ cumulativeAmount: 30n, signature: high.signature })
  await appendCharges(database.db, [middle, low])
  expect(await channel()).toMatchObject({ cumulativeAmount: 30n, signature: high.signature, charged: 30n })
})

test('only new charges of a repeated batch bring a voucher', async () => {
  const { charges, channel } = await arrange()
  const [first] = charges(1)
  if (!first) throw new Error('no charge')
  await appendCharges(database.db, [first])
  await appendCharges(database.db, [{ ...first, cumulativeAmount: 999n, amount: 999n }])
  expect(await channel()).toMatchObject({ cumulativeAmount: 10n, charged: 10n })
})

test('months whose partition is missing get one, and the journal reads across them', async () => {
  const { charges, grant } = await arrange()
  const months = [Date.UTC(2031, 0, 31, 23, 59, 59, 999), Date.UTC(2031, 1, 1), Date.UTC(2033, 5, 15)]
  const batch = months.flatMap((month) => charges(1, month))
  expect(await appendCharges(database.db, batch)).toBe(3)
  expect(await appendCharges(database.db, batch)).toBe(0)
  const { items } = await listCharges(database.db, { grantId: grant.grantId })
  expect(items.map(({ occurredAt }) => occurredAt.getTime())).toEqual(months.toReversed())
  const partitions = await database.query<{ name: string }>(
    `select relname as name from pg_class where relname ~ '^charge_203[13]_..$' and relkind = 'r' order by 1`,
  )
  expect(partitions.map(({ name }) => name)).toEqual(['charge_2031_01', 'charge_2031_02', 'charge_2033_06'])
})

test('a partition that was removed is made again by the next try', async () => {
  const { charges } = await arrange()
  const june = Date.UTC(2035, 5, 1)
  await appendCharges(database.db, charges(1, june))
  await database.query('drop table charge_2035_06')
  const batch = charges(1, june + 5_000)
  await expect(appendCharges(database.db, batch)).rejects.toThrow()
  expect(await appendCharges(database.db, batch)).toBe(1)
})

test('a rolled back transaction leaves neither charges nor partitions behind', async () => {
  const { charges, channel } = await arrange()
  const batch = charges(1, Date.UTC(2036, 0, 1))
  await expect(
    database.db.transaction(async (tx) => {
      await appendCharges(tx, batch)
      tx.rollback()
    }),
  ).rejects.toThrow()
  expect((await channel())?.charged).toBe(0n)
  expect(await appendCharges(database.db, batch)).toBe(1)
})

test('what is owed is dated by the oldest unsettled charge', async () => {
  const { charges, channel, grant, seller } = await arrange()
  const { payee } = seller.merchant
  const settle = (settled: bigint, blockNumber: bigint) =>
    upsertChannelsFromChain(database.db, [{ grantId: grant.grantId, payee, settled, blockNumber }])
  await appendCharges(database.db, charges(10))
  expect((await channel())?.firstUnsettledAt?.getTime()).toBe(start)
  await settle(35n, 101n)
  // The fourth charge is half paid.
  expect((await channel())?.firstUnsettledAt?.getTime()).toBe(start + 3)
  await settle(100n, 102n)
  expect((await channel())?.firstUnsettledAt).toBeNull()
  // The payee collected ahead: the next charge is paid already, the one after it is not.
  await settle(110n, 103n)
  const [paid, owed] = charges(2, start + 60_000)
  if (!paid || !owed) throw new Error('no charges')
  await appendCharges(database.db, [paid])
  expect((await channel())?.firstUnsettledAt).toBeNull()
  await appendCharges(database.db, [owed])
  expect((await channel())?.firstUnsettledAt?.getTime()).toBe(start + 60_001)
})

test('a charge reaches the journal although its grant and channel are unknown', async () => {
  const seller = await arrangeMerchant(database.db)
  const grant = { grantId: randomHex(32), account: randomAddress() }
  const charge = chargeEvent(grant, seller, { amount: 5n, cumulativeAmount: 5n, occurredAtMs: start })
  expect(await appendCharges(database.db, [charge])).toBe(1)
  expect(await getChannel(database.db, grant.grantId, seller.merchant.payee)).toMatchObject({
    merchantId: seller.merchant.id,
    charged: 5n,
    signature: charge.signature,
  })
})

test('the largest amounts and mixed-case addresses come back as they were', async () => {
  const seller = await arrangeMerchant(database.db)
  const grant = { grantId: randomHex(32), account: randomAddress() }
  const amount = 2n ** 127n
  await appendCharges(database.db, [
    chargeEvent(grant, seller, { amount, cumulativeAmount: 2n ** 128n - 1n, occurredAtMs: start }),
  ])
  const [charge] = (await listCharges(database.db, { account: grant.account })).items
  expect(charge).toMatchObject({
    amount,
    cumulativeAmount: 2n ** 128n - 1n,
    account: grant.account,
    payee: seller.merchant.payee,
    occurredAt: new Date(start),
  })
})

test('the requests of an account since a moment rebuild a meter', async () => {
  const { charges, grant } = await arrange()
  const batch = charges(20)
  await appendCharges(database.db, batch)
  const requests = await recentRequests(database.db, grant.account, start + 5)
  expect(requests).toHaveLength(15)
  expect(requests[0]).toMatchObject({ requestId: batch[19]?.requestId, fingerprint: batch[19]?.fingerprint })
})

test('pages of the journal hold every charge once, also those of one millisecond', async () => {
  const { seller, grant } = await arrange()
  const batch = Array.from({ length: 25 }, (_, index) =>
    chargeEvent(grant, seller, { amount: 1n, cumulativeAmount: 25n, occurredAtMs: start + Math.floor(index / 10) }),
  )
  await appendCharges(database.db, batch)
  const seen: string[] = []
  let cursor: string | undefined
  for (let page = 0; page < 4; page++) {
    const { items, nextCursor } = await listCharges(database.db, { grantId: grant.grantId, cursor, limit: 7 })
    seen.push(...items.map(({ eventId }) => eventId))
    cursor = nextCursor
  }
  expect(cursor).toBeUndefined()
  expect(seen.toSorted()).toEqual(batch.map(({ eventId }) => eventId).toSorted())
})

test('the journal is append-only', async () => {
  for (const statement of [sql`update charge set amount = 0`, sql`delete from charge`]) {
    await expect(database.db.execute(statement)).rejects.toMatchObject({ cause: { code: '42501' } })
  }
})

test('a batch above the bound is refused whole', async () => {
  const { charges, channel } = await arrange()
  await expect(appendCharges(database.db, charges(1_001))).rejects.toBeInstanceOf(BatchTooLargeError)
  expect((await channel())?.charged).toBe(0n)
})
