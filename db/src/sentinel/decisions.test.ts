import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { errorCodeOf } from '../errors.ts'
import { withOwner } from '../owners/withOwner.ts'
import { arrangeFinding } from '../testing/arrangeFinding.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { randomAddress } from '../testing/fixtures.ts'
import { listDecisions, recordDecision } from './decisions.ts'
import { closeIncident, type Incident, listIncidents, openIncident } from './incidents.ts'
import { listSentinelEvents } from './sentinelEvents.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date('2026-01-01T12:00:00.000Z')

async function arrangeIncident(): Promise<Incident> {
  const { finding } = await arrangeFinding(database.db, { now })
  const { incident } = await openIncident(database.db, finding)
  return incident
}

test('what an owner decides many times at once is one decision with one event, and acknowledges the incident', async () => {
  const { id: incidentId, grantId, account } = await arrangeIncident()
  const decide = { incidentId, decision: 'confirm', actor: 'alert:ach_1', now } as const
  const outcomes = await Promise.all(Array.from({ length: 8 }, () => recordDecision(database.db, decide)))
  expect(outcomes.filter((outcome) => outcome === 'recorded')).toHaveLength(1)
  expect(outcomes.filter((outcome) => outcome === 'repeated')).toHaveLength(7)
  const decisions = await listDecisions(database.db, { grantId })
  expect(decisions).toMatchObject([{ incidentId, account, decision: 'confirm', actor: 'alert:ach_1', decidedAt: now }])
  const { items } = await listIncidents(database.db, { grantId })
  expect(items).toMatchObject([{ state: 'acknowledged', acknowledgedBy: 'alert:ach_1' }])
  const events = await listSentinelEvents(database.db, { grantId })
  expect(events.items.map(({ kind }) => kind)).toEqual(['acknowledged', 'owner_confirmed', 'freeze'])
})

test('an owner may reject what they confirmed, and never confirm what they rejected', async () => {
  const { id: incidentId } = await arrangeIncident()
  const decide = (decision: 'confirm' | 'reject') =>
    recordDecision(database.db, { incidentId, decision, actor: 'owner', now })
  expect(await decide('confirm')).toBe('recorded')
  expect(await decide('reject')).toBe('recorded')
  const other = await arrangeIncident()
  const about = { incidentId: other.id, actor: 'owner', now }
  expect(await recordDecision(database.db, { ...about, decision: 'reject' })).toBe('recorded')
  expect(await recordDecision(database.db, { ...about, decision: 'confirm' })).toBe('rejected')
  expect(await listDecisions(database.db, { incidentId: other.id })).toHaveLength(1)
})

test('what is closed can be stopped for good, and no longer be confirmed', async () => {
  const { id: incidentId } = await arrangeIncident()
  await closeIncident(database.db, { id: incidentId, actor: 'operator', now })
  const about = { incidentId, actor: 'owner', now }
  expect(await recordDecision(database.db, { ...about, decision: 'confirm' })).toBe('closed')
  expect(await recordDecision(database.db, { ...about, decision: 'reject' })).toBe('recorded')
  expect(await recordDecision(database.db, { ...about, incidentId: 'inc_none', decision: 'reject' })).toBe('unknown')
})

test('nobody changes or deletes a decision, and an owner reads those of their account alone', async () => {
  const { id: incidentId, account } = await arrangeIncident()
  await recordDecision(database.db, { incidentId, decision: 'reject', actor: 'owner', now })
  for (const statement of [
    sql`update sentinel_decision set decision = 'confirm'`,
    sql`delete from sentinel_decision`,
    sql`truncate sentinel_decision`,
  ]) {
    const error = await database.db.execute(statement).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(errorCodeOf(error)).toBe('42501')
  }
  const seen = (whose: typeof account) =>
    withOwner(database.db, whose, async (tx) => (await listDecisions(tx)).map((made) => made.incidentId))
  expect(await seen(account)).toEqual([incidentId])
  expect(await seen(randomAddress())).toEqual([])
})
