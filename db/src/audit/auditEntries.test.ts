import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { errorCodeOf } from '../errors.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { withService } from '../withService.ts'
import { withTenant } from '../withTenant.ts'
import { appendAudit, appendRefusal, listAudit, maxRefusalsPerMinute } from './auditEntries.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const entry = { actor: 'operator', action: 'settlement_retry', note: 'because', before: { state: 'dead' }, after: null }

test('entries come back as they were written, newest first, by subject', async () => {
  const ids = [
    await appendAudit(database.db, { ...entry, subject: 'stl_a' }),
    await appendAudit(database.db, { ...entry, subject: 'stl_b' }),
    await appendAudit(database.db, { ...entry, subject: 'stl_a' }),
  ]
  const { items } = await listAudit(database.db, { subject: 'stl_a' })
  expect(items.map(({ id }) => id)).toEqual([ids[2], ids[0]])
  expect(items[0]).toMatchObject({ ...entry, outcome: 'done', errorCode: null, createdAt: expect.any(Date) })
  const first = await listAudit(database.db, { limit: 2 })
  const second = await listAudit(database.db, { limit: 2, cursor: first.nextCursor })
  expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(ids.toReversed())
})

test('an entry is lost with the act that it tells of', async () => {
  const failing = withService(database.db, async (tx) => {
    await appendAudit(tx, { ...entry, subject: 'stl_lost' })
    throw new Error('wanted')
  })
  await expect(failing).rejects.toThrow('wanted')
  expect((await listAudit(database.db, { subject: 'stl_lost' })).items).toEqual([])
})

test('no service changes or deletes an entry, and no tenant sees one', async () => {
  const id = await appendAudit(database.db, { ...entry, subject: 'stl_kept' })
  for (const statement of [
    sql`update audit_entry set note = 'another' where id = ${id}`,
    sql`delete from audit_entry where id = ${id}`,
    sql`truncate audit_entry`,
  ]) {
    const error = await database.db.execute(statement).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(errorCodeOf(error)).toBe('42501')
  }
  await database.query('grant select on audit_entry to stream_tenant')
  const seen = await withTenant(database.db, 'mer_any', (tx) => tx.execute(sql`select * from audit_entry`))
  expect(seen.rows).toEqual([])
})

test('refusals of one actor are bounded by the minute, and do not silence another', async () => {
  const refusal = { actor: 'key_flood', action: 'settlement_request', errorCode: 'grant.unknown' }
  const written: boolean[] = []
  for (let n = 0; n < maxRefusalsPerMinute + 5; n++) {
    written.push(await appendRefusal(database.db, { ...refusal, subject: `0x${n}` }))
  }
  expect(written.filter(Boolean)).toHaveLength(maxRefusalsPerMinute)
  expect(await appendRefusal(database.db, { ...refusal, actor: 'key_other', subject: 'x'.repeat(1_000) })).toBe(true)
  const [entry] = (await listAudit(database.db, { limit: 1 })).items
  expect(entry).toMatchObject({ actor: 'key_other', outcome: 'refused', errorCode: 'grant.unknown', before: null })
  expect(entry?.subject).toHaveLength(300)
})
