import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { listControls, setControl } from '../controls/controls.ts'
import { unfreezeGrant } from '../controls/freezeGrant.ts'
import { listIncidents, type NewIncident } from '../sentinel/incidents.ts'
import { listSentinelEvents } from '../sentinel/sentinelEvents.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, randomHex } from '../testing/fixtures.ts'
import { applyRuleHold, getRuleHold, listDueRuleHolds, openHoldingIncident, settleRuleHold } from './ruleHolds.ts'
import { createRule, setRuleState } from './rules.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date('2026-01-01T12:00:00.000Z')
const later = (seconds: number) => new Date(now.getTime() + seconds * 1_000)

async function arrange() {
  const { db } = database
  const seller = await arrangeMerchant(db)
  const grant = await arrangeGrant(db, [seller.merchant])
  const holder = { merchantId: null, account: grant.account }
  const newRule = async () => {
    const terms = {
      name: 'x',
      expression: 'true',
      scope: {},
      action: 'block',
      severity: 'warning',
      blockSeconds: 60,
    } as const
    const rule = await createRule(db, { holder, actor: 'test', terms })
    const change = { holder, actor: 'test', id: rule?.id ?? '' }
    await setRuleState(db, { ...change, state: 'live' })
    return change
  }
  /** A hold of a rule of its own, of `seconds`. */
  const hold = async (seconds: number | null, merchantId: string | null = null) => {
    const rule = await newRule()
    const incident: NewIncident = {
      grantId: grant.grantId,
      account: grant.account,
      rule: `${rule.id}@1`,
      ruleVersion: 1,
      action: 'block',
      severity: 'warning',
      ruleId: rule.id,
      payee: seller.merchant.payee,
      requestId: randomHex(12),
      chargedAt: now,
      inputs: {},
      explanation: 'It matched.',
      now,
    }
    const until = seconds === null ? null : later(seconds)
    const wanted = { ruleId: rule.id, merchantId, until, reason: 'rule: x' }
    const open = () => openHoldingIncident(db, incident, wanted)
    const { incident: opened } = await open()
    const due = await listDueRuleHolds(db, { now, limit: 1_000 })
    const id = due.find(({ incidentId }) => incidentId === opened.id)?.id ?? ''
    return { id, rule, incidentId: opened.id, open }
  }
  const act = async (id: string, at: Date) => {
    const applied = await applyRuleHold(db, { id, now: at })
    if (applied) await settleRuleHold(db, { ...applied, now: at })
    return applied?.is
  }
  const controls = async () =>
    (await listControls(db, { grantId: grant.grantId })).map(({ holder: of, merchantId }) => [of, merchantId])
  const isDue = async (id: string, at: Date) =>
    (await listDueRuleHolds(db, { now: at, limit: 1_000 })).some((one) => one.id === id)
  return { db, grant, seller, hold, act, controls, isDue }
}

test('a hold stands until its time is over, is lifted then and closes its incident, so that the same is found anew', async () => {
  const { db, grant, hold, act, controls, isDue } = await arrange()
  const { id, incidentId, open } = await hold(60)
  expect((await open()).isNew).toBe(false)
  expect(await act(id, now)).toBe('placed')
  expect(await controls()).toEqual([['rule', null]])
  expect(await isDue(id, later(59))).toBe(false)
  expect(await isDue(id, later(60))).toBe(true)
  expect(await act(id, later(60))).toBe('lifted')
  expect(await controls()).toEqual([])
  expect(await getRuleHold(db, id)).toMatchObject({ placedAt: now, liftedAt: later(60) })
  expect(await act(id, later(61))).toBeUndefined()
  const { items } = await listIncidents(db, { grantId: grant.grantId })
  expect(items).toMatchObject([{ id: incidentId, state: 'closed' }])
  expect((await open()).isNew).toBe(true)
  const kinds = (await listSentinelEvents(db, { grantId: grant.grantId })).items.map(({ kind }) => kind)
  expect(kinds.toReversed()).toEqual(['block', 'block_refused', 'block_lifted', 'closed', 'block'])
})

test('the end of a hold lifts no other hold: not of another rule, nor of anybody else', async () => {
  const { db, grant, seller, hold, act, controls } = await arrange()
  const others = { grantId: grant.grantId, reason: 'x', actor: 'x', state: 'frozen' } as const
  await setControl(db, { ...others, merchantId: null, holder: 'operator' })
  await setControl(db, { ...others, merchantId: null, holder: 'sentinel' })
  await setControl(db, { ...others, merchantId: seller.merchant.id, holder: 'merchant' })
  const [short, long, merchants] = [await hold(10), await hold(100), await hold(100, seller.merchant.id)]
  for (const { id } of [short, long, merchants]) await act(id, now)
  expect(await act(short.id, later(10))).toBe('lifted')
  const left = [
    ['merchant', seller.merchant.id],
    ['operator', null],
    ['sentinel', null],
  ]
  expect((await controls()).toSorted()).toEqual([...left, ['rule', seller.merchant.id], ['rule', null]].toSorted())
  await act(long.id, later(100))
  await act(merchants.id, later(100))
  expect((await controls()).toSorted()).toEqual(left.toSorted())
})

test('a hold ends when its rule is switched off, and when somebody lifts it by hand', async () => {
  const { db, grant, hold, act, controls, isDue } = await arrange()
  const [off, byHand] = [await hold(null), await hold(null)]
  for (const { id } of [off, byHand]) await act(id, now)
  await setRuleState(db, { ...off.rule, state: 'off' })
  expect(await isDue(off.id, later(1))).toBe(true)
  expect(await act(off.id, later(1))).toBe('lifted')
  expect(await controls()).toEqual([['rule', null]])
  await unfreezeGrant(db, { grantId: grant.grantId, merchantId: null, holders: ['rule'] })
  expect(await isDue(byHand.id, later(2))).toBe(true)
  expect(await act(byHand.id, later(2))).toBe('lifted')
  expect(await controls()).toEqual([])
})
