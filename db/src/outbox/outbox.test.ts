import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { withService } from '../withService.ts'
import { appendOutbox, claimOutbox, markPublished, postponeOutbox } from './outbox.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

// A message is available from the moment it was written.
const soon = () => Date.now() + 1_000
const append = (n: number) =>
  appendOutbox(database.db, { topic: 'settlement.confirmed', merchantId: null, payload: { n } })
const claim = (limit: number, atMs: number, leaseMs = 10_000) =>
  claimOutbox(database.db, { limit, leaseMs, now: new Date(atMs) })

test('messages are claimed oldest first, again when they were not published, and never after', async () => {
  const ids = [await append(1), await append(2), await append(3)]
  const start = soon()
  const [first, second] = await claim(2, start)
  expect([first?.id, second?.id]).toEqual(ids.slice(0, 2))
  expect(first).toMatchObject({ topic: 'settlement.confirmed', payload: { n: 1 }, attempts: 1, merchantId: null })
  expect(await markPublished(database.db, ids[0] ?? 0n, new Date(start))).toBe(true)
  expect(await markPublished(database.db, ids[0] ?? 0n, new Date(start))).toBe(false)
  expect((await claim(10, start + 1)).map(({ id }) => id)).toEqual([ids[2]])
  await postponeOutbox(database.db, ids[2] ?? 0n, new Date(start + 60_000))
  expect((await claim(10, start + 10_000)).map(({ id, attempts }) => ({ id, attempts }))).toEqual([
    { id: ids[1], attempts: 2 },
  ])
  expect((await claim(10, start + 60_000)).map(({ id }) => id)).toEqual([ids[1], ids[2]])
  for (const id of ids) await markPublished(database.db, id, new Date(start))
  expect(await claim(10, start + 600_000)).toEqual([])
})

test('each message goes to one of many deliverers', async () => {
  for (let n = 0; n < 30; n++) await append(n)
  const start = soon()
  const batches = await Promise.all(Array.from({ length: 6 }, () => claim(10, start)))
  const ids = batches.flat().map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
  const rest = await claim(30, start)
  expect(ids.length + rest.length).toBe(30)
})

test('a deliverer gets the topics that it names', async () => {
  const topic = 'reconciliation.difference'
  const id = await appendOutbox(database.db, { topic, merchantId: null, payload: {} })
  await append(1)
  const claimed = await claimOutbox(database.db, { limit: 10, leaseMs: 1, now: new Date(soon()), topics: [topic] })
  expect(claimed.map((message) => message.id)).toEqual([id])
  expect(await claimOutbox(database.db, { limit: 10, leaseMs: 1, now: new Date(soon()), topics: [] })).toEqual([])
})

test('a message is lost with the change it tells of', async () => {
  const failing = withService(database.db, async (tx) => {
    await appendOutbox(tx, { topic: 'lost', merchantId: null, payload: {} })
    throw new Error('wanted')
  })
  await expect(failing).rejects.toThrow('wanted')
  expect((await claim(1_000, soon() + 60_000)).map(({ topic }) => topic)).not.toContain('lost')
})
