import type { Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { appendCharges } from '../journal/appendCharges.ts'
import { withOwner } from '../owners/withOwner.ts'
import { arrangeFinding } from '../testing/arrangeFinding.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { chargeEvent, randomHex } from '../testing/fixtures.ts'
import {
  closeQuietIncidents,
  getBreaker,
  liftHold,
  moveBreaker,
  repeatStop,
  revokeStopped,
  stopRejected,
} from './breaker.ts'
import { listBreakerViews } from './breakerViews.ts'
import { recordDecision } from './decisions.ts'
import { readHeartbeat, recordHeartbeat } from './heartbeat.ts'
import { listIncidents, type NewIncident, openIncident } from './incidents.ts'
import { refreshAccepted } from './openStop.ts'
import { listSentinelEvents } from './sentinelEvents.ts'
import { getStopOfIncident, listOpenStops, markRefused, markStopConfirmed, markStopImpossible } from './stops.ts'
import { listVoucherPolicies, setVoucherPolicyAsOwner } from './voucherPolicies.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date('2026-01-01T12:00:00.000Z')
const later = (ms: number) => new Date(now.getTime() + ms)
const hold = { policy: 'hold', settleFirstMs: 0 } as const
const settle = { policy: 'settle', settleFirstMs: 60_000 } as const

async function arrange(change: Partial<NewIncident> = {}) {
  const { seller, grant, finding } = await arrangeFinding(database.db, {
    rule: 'amount.above_average',
    explanation: 'One call cost too much.',
    vouchers: hold,
    now,
    ...change,
  })
  return {
    seller,
    grant,
    finding,
    open: (more: Partial<NewIncident> = {}) => openIncident(database.db, { ...finding, ...more }),
  }
}

/** Stopped at the gateways and, by our own transaction, on the chain. */
async function arrangeFrozen() {
  const arranged = await arrange()
  const { incident } = await arranged.open()
  const stop = await getStopOfIncident(database.db, incident.id)
  if (!stop) throw new Error('no stop')
  await markRefused(database.db, { id: stop.id, now })
  await markStopConfirmed(database.db, { id: stop.id, txHash: randomHex(32), blockNumber: 7n, logIndex: 3, now })
  return { ...arranged, incident, stop }
}

async function viewOf(grantId: Hex) {
  const views = await listBreakerViews(database.db, { stopsSince: later(-86_400_000), limit: 500 })
  const view = views.find((one) => one.grantId === grantId)
  if (!view) throw new Error('no breaker moves')
  return view
}

async function mirror(grantId: Hex, status: string, events: { name: string; block: number; logIndex: number }[] = []) {
  await database.query('update "grant" set status = $2 where grant_id = $1', [grantId, status])
  for (const { name, block, logIndex } of events)
    await database.query(
      `insert into chain_event (block_number, block_hash, log_index, tx_hash, name, grant_id, data)
       values ($1, $2, $3, $4, $5, $6, '{}')`,
      [block, randomHex(32), logIndex, randomHex(32), name, grantId],
    )
}

const kindsOf = async (grantId: Hex) =>
  (await listSentinelEvents(database.db, { grantId })).items.map(({ kind }) => kind).toReversed()

const stopsOf = async (grantId: Hex) =>
  (await listOpenStops(database.db, 1_000)).filter((stop) => stop.grantId === grantId)

test('what is found opens the breaker with one stop; what is found of the same grant while it is stopped adds none', async () => {
  const { grant, open } = await arrange()
  expect((await open()).stops).toBe(true)
  expect((await open({ rule: 'behaviour.unusual', now: later(1) })).stops).toBe(false)
  expect((await open({ now: later(2) })).stops).toBe(false)
  expect(await getBreaker(database.db, grant.grantId)).toMatchObject({ state: 'open', since: now })
  expect(await stopsOf(grant.grantId)).toHaveLength(1)
  // To be stopped for good is more.
  expect((await open({ rule: 'worse', action: 'revoke', now: later(3) })).stops).toBe(true)
  expect((await stopsOf(grant.grantId)).map(({ kind }) => kind)).toEqual(['freeze', 'revoke'])
})

test('a breaker that several sentinels want to move is moved once', async () => {
  const { grant } = await arrangeFrozen()
  const move = { breaker: await viewOf(grant.grantId), why: 'unfrozen', now: later(10), to: 'half_open' } as const
  const moved = await Promise.all(Array.from({ length: 4 }, () => moveBreaker(database.db, move)))
  expect(moved.filter(Boolean)).toHaveLength(1)
  expect((await kindsOf(grant.grantId)).filter((kind) => kind === 'half_open')).toHaveLength(1)
})

test('only the owner’s unfreezing on the chain, after the stop was done there, is seen as such', async () => {
  const { grant } = await arrangeFrozen()
  await mirror(grant.grantId, 'active')
  expect((await viewOf(grant.grantId)).unfrozen).toBe(false)
  await mirror(grant.grantId, 'active', [{ name: 'GrantUnfrozen', block: 7, logIndex: 2 }])
  expect((await viewOf(grant.grantId)).unfrozen).toBe(false)
  await mirror(grant.grantId, 'active', [{ name: 'GrantUnfrozen', block: 7, logIndex: 4 }])
  expect(await viewOf(grant.grantId)).toMatchObject({ unfrozen: true, lost: false, chainStatus: 'active' })
})

test('a freeze whose block the mirror has, and which is not in it, is lost and becomes due again', async () => {
  const { grant, stop } = await arrangeFrozen()
  await mirror(grant.grantId, 'active')
  expect((await viewOf(grant.grantId)).lost).toBe(false)
  await database.query(
    `insert into indexer_cursor (name, block_number, block_hash, checked_at) values ('module', 7, $1, now())`,
    [randomHex(32)],
  )
  const breaker = await viewOf(grant.grantId)
  expect(breaker).toMatchObject({ lost: true, unfrozen: false })
  const again = { breaker, stopId: stop.id, why: 'reorganisation', now: later(10) }
  expect(await repeatStop(database.db, again)).toBe(true)
  expect(await repeatStop(database.db, again)).toBe(false)
  expect(await stopsOf(grant.grantId)).toMatchObject([{ id: stop.id, chainState: 'due', txHash: null }])
  await database.query('delete from indexer_cursor')
})

test('half open, what is found again stops the grant anew, but for what began before it went on', async () => {
  const { grant, open } = await arrangeFrozen()
  const resumed = later(10_000)
  const { grantId } = grant
  await moveBreaker(database.db, { breaker: await viewOf(grantId), why: 'unfrozen', now: resumed, to: 'half_open' })
  const before = { chargedAt: later(9_000), now: later(11_000) }
  expect((await open(before)).stops).toBe(false)
  const across = { chargedAt: later(11_000), inputs: { sinceMs: `${later(9_000).getTime()}` }, now: later(11_000) }
  expect((await open(across)).stops).toBe(false)
  expect((await getBreaker(database.db, grantId))?.state).toBe('half_open')
  const answer = await open({ chargedAt: later(12_000), now: later(12_000) })
  expect(answer).toMatchObject({ isNew: false, stops: true })
  expect(await getBreaker(database.db, grantId)).toMatchObject({ state: 'open', liftedAt: null })
  expect(await viewOf(grantId)).toMatchObject({ stopsLately: 2, stop: { chainState: 'due' } })
  expect(await kindsOf(grantId)).toContain('reopened')
})

test('a hold is lifted once, and no stop that comes meanwhile is undone by it', async () => {
  const { grant, open } = await arrangeFrozen()
  const { grantId } = grant
  await moveBreaker(database.db, { breaker: await viewOf(grantId), why: 'unfrozen', now: later(10), to: 'half_open' })
  const order: string[] = []
  let stopped: Promise<unknown> | undefined
  const lift = () =>
    liftHold(database.db, { grantId, now: () => later(20) }, async ({ sessionKey }) => {
      expect(sessionKey).toBe(grant.terms.sessionKey)
      stopped = open({ chargedAt: later(15), now: later(15) }).then(() => order.push('stopped'))
      await new Promise((resolve) => setTimeout(resolve, 100))
      order.push('lifted')
    })
  expect(await lift()).toEqual(later(20))
  await stopped
  expect(order).toEqual(['lifted', 'stopped'])
  expect((await getBreaker(database.db, grantId))?.state).toBe('open')
  expect(await liftHold(database.db, { grantId, now: () => later(30) }, async () => {})).toBeUndefined()
})

test('a breaker that closes closes what had opened it, and not what only alerts', async () => {
  const { grant, open } = await arrangeFrozen()
  const { grantId } = grant
  await open({ rule: 'budget.low', action: 'alert', severity: 'warning' })
  const halfOpen = { breaker: await viewOf(grantId), why: 'unfrozen', now: later(10), to: 'half_open' } as const
  await moveBreaker(database.db, halfOpen)
  await moveBreaker(database.db, { breaker: await viewOf(grantId), why: 'quiet', now: later(20), to: 'closed' })
  expect(await getBreaker(database.db, grantId)).toMatchObject({ state: 'closed' })
  const { items } = await listIncidents(database.db, { grantId })
  expect(items.map(({ rule, state }) => [rule, state])).toEqual([
    ['budget.low', 'open'],
    ['amount.above_average', 'closed'],
  ])
  const quiet = { before: later(1), now: later(30), limit: 1_000 }
  expect(await closeQuietIncidents(database.db, { ...quiet, before: now })).toBe(0)
  expect(await closeQuietIncidents(database.db, quiet)).toBeGreaterThan(0)
  expect((await listIncidents(database.db, { grantId, state: 'open' })).items).toEqual([])
})

test('what is revoked opens one more stop, says why, and nothing opens the grant again', async () => {
  const { grant, open } = await arrangeFrozen()
  const { grantId } = grant
  const breaker = await viewOf(grantId)
  expect(await revokeStopped(database.db, { breaker, why: 'repeated', now: later(10) })).toBe(true)
  expect(await revokeStopped(database.db, { breaker, why: 'repeated', now: later(11) })).toBe(false)
  expect(await stopsOf(grantId)).toMatchObject([{ kind: 'revoke', chainState: 'due', settleUntil: null }])
  await moveBreaker(database.db, { breaker: await viewOf(grantId), why: 'on_chain', now: later(20), to: 'revoked' })
  expect((await open({ now: later(30), chargedAt: later(30) })).stops).toBe(false)
  expect(await getBreaker(database.db, grantId)).toMatchObject({ state: 'revoked' })
})

test('what an owner rejects is revoked once, whether it was frozen or only alerted', async () => {
  const frozen = await arrangeFrozen()
  const alerted = await arrange({ action: 'alert', severity: 'warning' })
  const { incident } = await alerted.open()
  for (const incidentId of [frozen.incident.id, incident.id])
    await recordDecision(database.db, { incidentId, decision: 'reject', actor: 'owner', now: later(5) })
  const options = { vouchers: hold, now: later(10), limit: 100 }
  expect(await stopRejected(database.db, options)).toBe(2)
  expect(await stopRejected(database.db, options)).toBe(0)
  for (const { grant } of [frozen, alerted])
    expect(await stopsOf(grant.grantId)).toMatchObject([{ kind: 'revoke', chainState: 'due' }])
})

test('a stop that lets what was accepted be settled first asks for that, and knows when nothing is owed', async () => {
  const { seller, grant, open } = await arrange({ vouchers: settle })
  const { grantId } = grant
  const charge = chargeEvent(grant, seller, { amount: 40n, cumulativeAmount: 40n, occurredAtMs: now.getTime() })
  await appendCharges(database.db, [charge])
  const { incident } = await open()
  expect((await listIncidents(database.db, { grantId })).items).toMatchObject([
    { voucherPolicy: 'settle', accepted: 40n },
  ])
  expect(await stopsOf(grantId)).toMatchObject([{ settleUntil: later(60_000), owes: true }])
  const requests = await database.query<{ actor: string }>(
    'select actor from settlement_request where grant_id = $1 and settlement_id is null',
    [grantId],
  )
  expect(requests).toEqual([{ actor: 'sentinel' }])

  await database.query('update channel set settled = 40 where grant_id = $1', [grantId])
  expect(await stopsOf(grantId)).toMatchObject([{ owes: false }])
  await refreshAccepted(database.db, later(-1))
  expect((await listIncidents(database.db, { grantId })).items).toMatchObject([{ id: incident.id, accepted: 0n }])
})

test('an owner’s policy for a grant comes before the one for the account, and both before the operator’s', async () => {
  const policyOf = async (grantId: Hex) =>
    (await listIncidents(database.db, { grantId })).items.map(({ voucherPolicy }) => voucherPolicy)
  const [one, other] = [await arrange(), await arrange()]
  const { account, grantId } = one.grant
  const set = (change: { grantId: Hex | null; policy: 'hold' | 'settle' | null }) =>
    withOwner(database.db, account, (tx) => setVoucherPolicyAsOwner(tx, { account, ...change }))
  expect(await set({ grantId: null, policy: 'settle' })).toBe(true)
  expect(await set({ grantId, policy: 'hold' })).toBe(true)
  expect(await set({ grantId, policy: 'settle' })).toBe(true)
  expect(await set({ grantId: null, policy: 'hold' })).toBe(true)
  expect(await set({ grantId: other.grant.grantId, policy: 'settle' })).toBe(false)
  expect(await listVoucherPolicies(database.db, account)).toMatchObject([
    { grantId: null, policy: 'hold' },
    { grantId, policy: 'settle' },
  ])
  await one.open()
  expect(await policyOf(grantId)).toEqual(['settle'])
  await set({ grantId, policy: null })
  await one.open({ rule: 'another', vouchers: settle })
  expect(await policyOf(grantId)).toEqual(['hold', 'settle'])
  await other.open({ vouchers: settle })
  expect(await policyOf(other.grant.grantId)).toEqual(['settle'])
})

test('a grant that the chain never froze says so to who decides', async () => {
  const { grant, open } = await arrange()
  const { incident } = await open()
  const stop = await getStopOfIncident(database.db, incident.id)
  await markStopImpossible(database.db, { id: stop?.id ?? '', errorCode: 'guardian.not_named', now })
  await recordDecision(database.db, { incidentId: incident.id, decision: 'confirm', actor: 'owner', now: later(5) })
  expect(await viewOf(grant.grantId)).toMatchObject({
    confirmed: true,
    stop: { chainState: 'impossible', refused: false },
  })
})

test('the latest word of any sentinel is its heartbeat', async () => {
  expect(await readHeartbeat(database.db)).toBeUndefined()
  for (const at of [later(5), later(3)]) await recordHeartbeat(database.db, at)
  expect(await readHeartbeat(database.db)).toEqual(later(5))
})
