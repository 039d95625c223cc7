import { sql } from 'drizzle-orm'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { compareUrgency, orderByUrgency, starvationMs, type Urgency } from './urgency.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date(Date.UTC(2026, 10, 21, 12))
const nowSeconds = now.getTime() / 1_000
const policy = { now, expiryMarginSeconds: 600 }
const plain: Urgency = {
  grantId: `0x${'11'.repeat(32)}`,
  validUntil: nowSeconds + 86_400,
  dueSince: null,
  withdrawn: false,
  stopping: false,
  source: 'allowance',
  owed: 10n,
}

test('the order is: about to be frozen, ending soonest, waiting longest, withdrawn, most on credit, most in the reserve', () => {
  const expected: Partial<Urgency>[] = [
    { stopping: true, source: 'reserve', owed: 1n },
    { validUntil: nowSeconds + 1 },
    { validUntil: nowSeconds + 600 },
    { dueSince: new Date(now.getTime() - 2 * starvationMs) },
    { dueSince: new Date(now.getTime() - starvationMs), source: 'reserve' },
    { withdrawn: true, source: 'reserve' },
    { owed: 1_000n },
    { owed: 10n, dueSince: new Date(now.getTime() - starvationMs + 1) },
    { owed: 5_000n, source: 'reserve' },
  ]
  const urgencies = expected.map((change) => ({ ...plain, ...change }))
  const sorted = urgencies.toReversed().toSorted((a, b) => compareUrgency(a, b, policy))
  expect(sorted).toEqual(urgencies)
})

test('whoever waits comes before any that only owe more, after ten minutes at the latest', () => {
  const small = { ...plain, owed: 1n, source: 'reserve', dueSince: now } as const
  const large = { ...plain, owed: 10n ** 18n }
  expect(compareUrgency(small, large, policy)).toBeGreaterThan(0)
  const tenMinutesLater = { ...policy, now: new Date(now.getTime() + starvationMs) }
  expect(compareUrgency(small, large, tenMinutesLater)).toBeLessThan(0)
})

test('Postgres orders as the function does', async () => {
  const one = fc.record({
    grantId: fc.integer({ min: 0, max: 9 }).map((digit): `0x${string}` => `0x${String(digit).repeat(64)}`),
    validUntil: fc.constantFrom(-1, 0, 599, 600, 601, 86_400).map((offset) => nowSeconds + offset),
    dueSince: fc.option(fc.constantFrom(-2, -1, 0, 1).map((offset) => new Date(now.getTime() - starvationMs + offset))),
    withdrawn: fc.boolean(),
    stopping: fc.boolean(),
    source: fc.constantFrom('allowance' as const, 'reserve' as const),
    owed: fc.constantFrom(1n, 2n, 10n ** 30n),
  })
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(one, { maxLength: 12, selector: ({ grantId }) => grantId }), async (urgencies) => {
      const values = JSON.stringify(
        urgencies.map(({ grantId, stopping, validUntil, dueSince, withdrawn, source, owed }) => ({
          grant_id: grantId,
          stopping,
          valid_until: validUntil,
          due_since: dueSince,
          withdrawn,
          source,
          owed: owed.toString(),
        })),
      )
      const { rows } = await database.db.execute<{ grant_id: string }>(sql`
        select grant_id from jsonb_to_recordset(${values}::jsonb)
          as r (grant_id text, stopping boolean, valid_until bigint, due_since timestamptz, withdrawn boolean, source text, owed numeric)
        order by ${orderByUrgency(policy)}`)
      const expected = urgencies.toSorted((a, b) => compareUrgency(a, b, policy)).map(({ grantId }) => grantId)
      expect(rows.map(({ grant_id }) => grant_id)).toEqual(expected)
    }),
    { numRuns: 100 },
  )
})
