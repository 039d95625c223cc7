import type { Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { appendCharges } from '../journal/appendCharges.ts'
import { listChargesBetween } from '../journal/listChargesBetween.ts'
import { withOwner } from '../owners/withOwner.ts'
import { arrangeFinding } from '../testing/arrangeFinding.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { chargeEvent, randomHex } from '../testing/fixtures.ts'
import { withTenant } from '../withTenant.ts'
import { findIncident, listEventsOfIncident } from './findIncident.ts'
import { loadGrantStates, readGrantBudgets, readSentinelCursor, saveGrantStates } from './grantStates.ts'
import { acknowledgeIncident, closeIncident, listIncidents, type NewIncident, openIncident } from './incidents.ts'
import { listSentinelEvents } from './sentinelEvents.ts'
import {
  getStopOfIncident,
  listOpenStops,
  markRefused,
  markStopConfirmed,
  markStopDue,
  markStopImpossible,
  recordStopTransaction,
} from './stops.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date('2026-01-01T12:00:00.000Z')

const arrange = (change: Partial<NewIncident> = {}) =>
  arrangeFinding(database.db, { inputs: { calls: '101' }, now, ...change })

test('what several sentinels find at once is one incident with one stop, and counted', async () => {
  const { grant, finding } = await arrange()
  const opened = await Promise.all(Array.from({ length: 8 }, () => openIncident(database.db, finding)))
  expect(opened.filter(({ isNew }) => isNew)).toHaveLength(1)
  const { items } = await listIncidents(database.db, { grantId: grant.grantId })
  expect(items).toMatchObject([{ state: 'open', findings: 8, inputs: { calls: '101' } }])
  const stops = (await listOpenStops(database.db, 100)).filter(({ grantId }) => grantId === grant.grantId)
  expect(stops).toMatchObject([{ kind: 'freeze', chainState: 'due', sessionKey: grant.terms.sessionKey }])
  const { items: events } = await listSentinelEvents(database.db, { grantId: grant.grantId })
  expect(events).toMatchObject([{ kind: 'freeze', rule: 'calls.per_minute', detail: { incidentId: items[0]?.id } }])
})

test('a merchant sees incidents of the grants that pay it, an owner those of the account, and nobody else any', async () => {
  const { db } = database
  const { seller, grant, finding } = await arrange()
  const { incident } = await openIncident(db, finding)
  const events = await listEventsOfIncident(db, incident)
  expect(events.map(({ kind }) => kind)).toEqual(['freeze'])

  const elsewhere = await arrange()
  const found = { incident: { id: incident.id }, stop: { incidentId: incident.id, chainState: 'due' } }
  expect(await withTenant(db, seller.merchant.id, (tx) => findIncident(tx, incident.id))).toMatchObject(found)
  expect(await withTenant(db, elsewhere.seller.merchant.id, (tx) => findIncident(tx, incident.id))).toBeUndefined()
  // Of what was compared, a merchant sees nothing.
  expect(await withTenant(db, seller.merchant.id, (tx) => listEventsOfIncident(tx, incident))).toEqual([])

  expect(await withOwner(db, grant.account, (tx) => findIncident(tx, incident.id))).toMatchObject(found)
  expect(await withOwner(db, grant.account, (tx) => listEventsOfIncident(tx, incident))).toEqual(events)
  const { account: stranger } = elsewhere.grant
  expect(await withOwner(db, stranger, (tx) => findIncident(tx, incident.id))).toBeUndefined()
  expect(await withOwner(db, stranger, (tx) => listEventsOfIncident(tx, incident))).toEqual([])
})

test('incidents are listed by grant, state and severity, page by page', async () => {
  const { db } = database
  const { grant, finding } = await arrange({ action: 'alert', severity: 'warning' })
  const { incident: first } = await openIncident(db, finding)
  const { incident: second } = await openIncident(db, { ...finding, rule: 'funds.low' })
  const asked = { payee: null, requestId: null, chargedAt: null, rule: 'owner.asked', severity: 'info' } as const
  const { incident: third } = await openIncident(db, { ...finding, ...asked })
  await closeIncident(db, { id: first.id, actor: 'operator', now })
  const { grantId } = grant
  const page = await listIncidents(db, { grantId, limit: 2 })
  expect(page.items.map(({ id }) => id)).toEqual([third.id, second.id])
  const rest = await listIncidents(db, { grantId, limit: 2, cursor: page.nextCursor })
  expect(rest).toMatchObject({ items: [{ id: first.id }], nextCursor: undefined })
  const open = await listIncidents(db, { grantId, state: 'open', severity: 'warning' })
  expect(open.items.map(({ id }) => id)).toEqual([second.id])
})

test('after it was closed the same finding is a new incident', async () => {
  const { grant, finding } = await arrange({ action: 'alert' })
  const { incident } = await openIncident(database.db, finding)
  expect(await acknowledgeIncident(database.db, { id: incident.id, actor: 'owner', now })).toBe(true)
  expect(await acknowledgeIncident(database.db, { id: incident.id, actor: 'owner', now })).toBe(false)
  expect(await closeIncident(database.db, { id: incident.id, actor: 'operator', now })).toBe(true)
  expect(await acknowledgeIncident(database.db, { id: incident.id, actor: 'owner', now })).toBe(false)
  expect(await closeIncident(database.db, { id: incident.id, actor: 'operator', now })).toBe(false)
  expect((await openIncident(database.db, finding)).isNew).toBe(true)
  const { items } = await listIncidents(database.db, { grantId: grant.grantId })
  expect(items.map(({ state }) => state)).toEqual(['open', 'closed'])
  expect(await getStopOfIncident(database.db, incident.id)).toBeUndefined()
})

test('a stop is open until no gateway serves the grant and the chain says so, and every step is told once', async () => {
  const { grant, finding } = await arrange()
  const { incident } = await openIncident(database.db, finding)
  const { id } = (await getStopOfIncident(database.db, incident.id)) ?? { id: '' }
  const isOpen = async () => (await listOpenStops(database.db, 100)).some((stop) => stop.id === id)

  const first = { nonce: 3, rawTransaction: '0x01', hash: randomHex(32) } as const
  const second = { nonce: 3, rawTransaction: '0x02', hash: randomHex(32) } as const
  const record = (version: typeof first | typeof second, hashes: Hex[]) =>
    recordStopTransaction(database.db, { stops: [{ id, hashes }], ...version, now })
  expect(await record(first, [])).toBe(true)
  // Who read it before it was sent comes too late.
  expect(await record(second, [])).toBe(false)
  expect(await record(second, [first.hash])).toBe(true)
  expect(await getStopOfIncident(database.db, incident.id)).toMatchObject({
    chainState: 'sent',
    rawTransaction: '0x02',
    hashes: [first.hash, second.hash],
  })
  await markStopDue(database.db, { id, now })
  expect(await getStopOfIncident(database.db, incident.id)).toMatchObject({ chainState: 'due', nonce: null })

  const proof = { id, txHash: second.hash, blockNumber: 7n, now }
  expect(await markStopConfirmed(database.db, proof)).toBe(true)
  expect(await markStopConfirmed(database.db, proof)).toBe(false)
  expect(await isOpen()).toBe(true)
  expect(await markRefused(database.db, { id, now })).toBe(true)
  expect(await markRefused(database.db, { id, now })).toBe(false)
  expect(await isOpen()).toBe(false)
  const { items } = await listSentinelEvents(database.db, { grantId: grant.grantId })
  expect(items.map(({ kind }) => kind)).toEqual(['freeze_refused', 'freeze_confirmed', 'freeze'])
})

test('what no guardian can stop on the chain says why, and stays refused', async () => {
  const { finding } = await arrange()
  const { incident } = await openIncident(database.db, finding)
  const { id } = (await getStopOfIncident(database.db, incident.id)) ?? { id: '' }
  await markRefused(database.db, { id, now })
  expect(await markStopImpossible(database.db, { id, errorCode: 'guardian.not_named', now })).toBe(true)
  expect(await getStopOfIncident(database.db, incident.id)).toMatchObject({
    chainState: 'impossible',
    errorCode: 'guardian.not_named',
    refusedAt: now,
  })
})

test('what is remembered of grants is saved with where the journal was read up to, by one sentinel at a time', async () => {
  const { grant } = await arrange()
  const { grantId } = grant
  const later = new Date(now.getTime() + 5_000)
  const save = (writer: string, state: string, at: Date) =>
    saveGrantStates(database.db, {
      states: [{ grantId, state }],
      journalUntil: at,
      position: `${writer}'s`,
      writer,
      writerMs: 10_000,
      now: at,
    })
  expect(await save('first', 'one', now)).toBe(true)
  expect(await save('second', 'two', later)).toBe(false)
  expect(await save('first', 'three', later)).toBe(true)
  expect(await loadGrantStates(database.db, [grantId, randomHex(32)])).toEqual(new Map([[grantId, 'three']]))
  expect(await readSentinelCursor(database.db)).toEqual({ journalUntil: later, position: "first's" })
  const afterwards = new Date(later.getTime() + 10_000)
  expect(await save('second', 'four', afterwards)).toBe(true)
  expect(await loadGrantStates(database.db, [grantId])).toEqual(new Map([[grantId, 'four']]))
})

test('a budget is what the chain allows, what the journal says was charged, and what the source holds', async () => {
  const { seller, grant } = await arrange()
  const charges = [1, 2, 3].map((second) =>
    chargeEvent(grant, seller, { amount: 10n, cumulativeAmount: 30n, occurredAtMs: now.getTime() + second * 1_000 }),
  )
  await appendCharges(database.db, charges)
  expect(await readGrantBudgets(database.db, [grant.grantId])).toMatchObject([
    { grantId: grant.grantId, totalLimit: grant.terms.totalLimit, charged: 30n, funds: 500_000_000n },
  ])
  // Page by page, every charge of the time between once.
  const between = { from: new Date(now.getTime() + 1_000), until: new Date(now.getTime() + 3_000), limit: 1 }
  const [first] = await listChargesBetween(database.db, between)
  const after = first && { at: first.occurredAt, eventId: first.eventId }
  const [second] = await listChargesBetween(database.db, { ...between, after })
  expect([first?.eventId, second?.eventId]).toEqual(charges.slice(0, 2).map(({ eventId }) => eventId))
})
