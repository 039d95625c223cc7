import { expect, test } from 'vitest'
import { firstRules } from '../rules/firstRules.ts'
import type { Charge } from '../watch/createWatch.ts'
import { createProbation } from './probation.ts'

const grantId = `0x${'01'.repeat(32)}` as const
const account = '0x00000000000000000000000000000000000000aa'
const payee = '0x00000000000000000000000000000000000000bb'
const sinceMs = Date.UTC(2026, 0, 1)

let requests = 0
function chargeOf(change: Partial<Charge> = {}): Charge {
  requests += 1
  const requestId = `request-${requests}`
  return { requestId, account, grantId, payee, service: 'weather', amountAtomic: 10_000n, atMs: sinceMs, ...change }
}

async function arrange() {
  const spent = { grantId, calls: 100, spentAtomic: 1_000_000n, largestAtomic: 10_000n }
  const probation = createProbation({ rules: firstRules, decimals: 6, loadSpent: async () => [spent] })
  await probation.set([{ grantId, since: new Date(sinceMs) }])
  return probation
}

const rulesOf = (found: { rule: string }[]) => found.map(({ rule }) => rule)

test('on probation half of the calls in a minute are too many, from the first minute on', async () => {
  const probation = await arrange()
  expect(probation.judge(Array.from({ length: 50 }, () => chargeOf()))).toEqual([])
  const found = probation.judge([chargeOf()])
  expect(found).toMatchObject([{ rule: 'half_open.calls', action: 'freeze', inputs: { calls: '51' } }])
})

test('on probation five times the average is too much', async () => {
  const probation = await arrange()
  expect(probation.judge([chargeOf({ amountAtomic: 50_000n })])).toEqual([])
  expect(rulesOf(probation.judge([chargeOf({ amountAtomic: 150_000n })]))).toEqual(['half_open.amount'])
})

test('a charge that is told twice counts once, and one from before counts not at all', async () => {
  const probation = await arrange()
  const charges = Array.from({ length: 50 }, () => chargeOf())
  probation.judge(charges)
  expect(probation.judge(charges)).toEqual([])
  expect(probation.judge(Array.from({ length: 60 }, () => chargeOf({ atMs: sinceMs - 1 })))).toEqual([])
  expect(rulesOf(probation.judge([chargeOf()]))).toEqual(['half_open.calls'])
})

test('what began before a grant went on is known as such', async () => {
  const probation = await arrange()
  const finding = { rule: 'calls.per_minute', ruleVersion: 1, action: 'freeze', severity: 'critical' } as const
  const of = (inputs: Record<string, string>, charge: Charge) =>
    probation.isFromBefore({ ...finding, ruleId: null, explanation: '', inputs, charge })
  expect(of({ sinceMs: `${sinceMs - 1}` }, chargeOf())).toBe(true)
  expect(of({ sinceMs: `${sinceMs}` }, chargeOf())).toBe(false)
  expect(of({}, chargeOf({ atMs: sinceMs - 1 }))).toBe(true)
  expect(of({}, chargeOf({ grantId: `0x${'02'.repeat(32)}`, atMs: 0 }))).toBe(false)
})

test('who is not on probation any more is judged as anybody is, and begins anew the next time', async () => {
  const probation = await arrange()
  probation.judge(Array.from({ length: 50 }, () => chargeOf()))
  await probation.set([])
  expect(probation.judge([chargeOf()])).toEqual([])
  await probation.set([{ grantId, since: new Date(sinceMs + 1_000) }])
  expect(probation.judge(Array.from({ length: 50 }, () => chargeOf({ atMs: sinceMs + 1_000 })))).toEqual([])
})
