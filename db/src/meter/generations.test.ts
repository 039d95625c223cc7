import { sql } from 'drizzle-orm'
import { afterAll, beforeEach, expect, inject, test } from 'vitest'
import { appendCharges } from '../journal/appendCharges.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent } from '../testing/fixtures.ts'
import {
  beatMeterProcess,
  closeMeterGeneration,
  listLivingProcesses,
  openMeterGeneration,
  removeMeterProcess,
} from './generations.ts'

let database: TestDatabase
const databases: TestDatabase[] = []
beforeEach(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  databases.push(database)
})
afterAll(() => Promise.all(databases.map((one) => one.drop())))

const beat = (instance: string, ...acknowledged: number[]) => beatMeterProcess(database.db, { instance, acknowledged })

test('the first process begins every partition closed, and opens it once it has acknowledged it', async () => {
  const [first, second] = await beat('a', 0, 0)
  expect([first, second]).toMatchObject([
    { partition: 0, state: 'closed', ready: false },
    { partition: 1, state: 'closed', ready: false },
  ])
  const generation = first?.generation ?? 0
  expect(generation).toBeGreaterThan(1_700_000_000)
  expect(await beat('a', generation, 0)).toMatchObject([{ ready: true }, { ready: false }])
  expect(await openMeterGeneration(database.db, { partition: 0, generation, storeRun: 'run' })).toBe(true)
  expect(await beat('a', generation, 0)).toMatchObject([{ state: 'open', storeRun: 'run' }, { state: 'closed' }])
})

test('nobody opens a generation before every living process has acknowledged it', async () => {
  await beat('a', 0)
  const [{ generation } = { generation: 0 }] = await beat('b', 0)
  expect(await beat('a', generation)).toMatchObject([{ ready: false }])
  const open = () => openMeterGeneration(database.db, { partition: 0, generation, storeRun: '' })
  expect(await open()).toBe(false)
  // One that is gone, orderly or not, is not waited for.
  await beat('dead', 0)
  await database.query(`update meter_process set seen_at = now() - interval '11 s' where instance = 'dead'`)
  await beat('leaves', 0)
  await removeMeterProcess(database.db, 'leaves')
  expect(await listLivingProcesses(database.db, ['a', 'b', 'dead', 'leaves'])).toEqual(new Set(['a', 'b']))
  await beat('b', generation)
  expect(await beat('a', generation)).toMatchObject([{ ready: true }])
  expect(await open()).toBe(true)
})

test('a generation is closed once, by whoever notices first, and its number never comes again', async () => {
  const [{ generation } = { generation: 0 }] = await beat('a', 0)
  const close = () => closeMeterGeneration(database.db, { partition: 0, generation, reason: 'a test' })
  expect((await Promise.all([close(), close(), close()])).filter(Boolean)).toHaveLength(1)
  const [next] = await beat('a', generation)
  expect(next).toMatchObject({ state: 'closed', ready: false })
  expect(next?.generation).toBeGreaterThan(generation)
})

test('a close keeps how far the journal was in that generation of that partition', async () => {
  const [{ generation } = { generation: 0 }] = await beat('a', 0)
  const seller = await arrangeMerchant(database.db)
  const grant = await arrangeGrant(database.db, [seller.merchant])
  const at = Date.now() - 5_000
  const chargeAt = (occurredAtMs: number, eventId: string) => ({
    ...chargeEvent(grant, seller, { amount: 1n, cumulativeAmount: 10n, occurredAtMs }),
    eventId,
  })
  await appendCharges(database.db, [
    chargeAt(at, `p0.${generation}-${at}-0`),
    chargeAt(at + 10, `p0.${generation}-${at + 10}-0`),
    chargeAt(at + 20, `p1.${generation}-${at + 20}-0`),
    chargeAt(at + 30, `p0.${generation - 1}-${at + 30}-0`),
  ])
  await closeMeterGeneration(database.db, { partition: 0, generation, reason: 'a test' })
  expect((await beat('a', generation))[0]?.journalledAt).toEqual(new Date(at + 10))
})

test('rows of processes that are long gone are removed', async () => {
  await beat('old', 0)
  await database.db.execute(sql`update meter_process set seen_at = now() - interval '2 hours'`)
  await beat('a', 0)
  expect(await database.query(`select instance from meter_process`)).toEqual([{ instance: 'a' }])
})
