import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { describe, expect, test } from 'vitest'
import type { Fault } from './fault.ts'
import type { FaultResult } from './runSchedule.ts'
import { type Facts, judge } from './verdict.ts'

const grantId: Hex = `0x${'ab'.repeat(32)}`
const payee: Address = '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913'
const channel = { grantId, payee }

/** Three calls, charged and paid by two settlements. */
const facts: Facts = {
  calls: ['a', 'b', 'c'].map((requestId) => ({ ...channel, requestId, amountAtomic: 10n, outcome: 'served' })),
  journal: ['a', 'b', 'c'].map((requestId) => ({ ...channel, requestId, eventId: `p1-${requestId}`, amount: 10n })),
  channels: [{ ...channel, charged: 30n, settled: 30n }],
  payments: [
    { ...channel, paid: 20n, settled: 20n },
    { ...channel, paid: 10n, settled: 30n },
  ],
  claims: [
    { ...channel, settlementId: 'stl_1', paid: 20n },
    { ...channel, settlementId: 'stl_2', paid: 10n },
  ],
  balances: [{ payee, received: 30n }],
  unfinished: [],
  requestedByHand: 0,
  quarantined: [{ requestId: 'a', reason: 'duplicate' }],
  copies: 1,
  waiting: 0,
  reconcile: { exitCode: 0, output: 'The books agree.' },
  surprises: [],
}
const crash: Fault = {
  kind: 'crash',
  process: 'gateway-1',
  point: 'charge.after',
  hit: 1,
  index: 0,
  pauseMs: 0,
}
const results: FaultResult[] = [{ fault: crash, atSeconds: 1, recoverySeconds: 2.5, problem: undefined }]
const expected = { faults: 1, payments: 3, points: ['charge.after'] } as const

test('books that agree are a run without a problem', () => {
  expect(judge(facts, results, expected)).toEqual({
    faults: 1,
    payments: 3,
    chargedAtomic: '30',
    receivedAtomic: '30',
    doubleSettled: 0,
    unclaimedAtomic: '0',
    lost: 0,
    maxRecoverySeconds: 2.5,
    problems: [],
  })
})

describe('a call is lost when it', () => {
  const journalOf = (ids: string[]) =>
    ids.map((requestId, index) => ({ ...channel, requestId, eventId: `p1-${index}`, amount: 10n }))
  test.each([
    ['was served and is not in the journal', ['a', 'b']],
    ['was served and is in the journal twice', ['a', 'b', 'c', 'c']],
    ['was charged and never asked for', ['a', 'b', 'c', 'd']],
  ])('%s', (_, ids) => {
    const verdict = judge({ ...facts, journal: journalOf(ids) }, results, expected)
    expect(verdict.lost).toBe(1)
    expect(verdict.problems.join('\n')).toContain('lost: ')
  })

  test('was charged and never served', () => {
    const calls = facts.calls.map((call) => (call.requestId === 'b' ? { ...call, outcome: 'open' as const } : call))
    expect(judge({ ...facts, calls }, results, expected).lost).toBe(1)
  })

  test('but not when it was neither served nor charged', () => {
    const calls = [...facts.calls, { ...channel, requestId: 'd', amountAtomic: 10n, outcome: 'open' as const }]
    expect(judge({ ...facts, calls }, results, expected).lost).toBe(0)
  })
})

describe('money is settled twice when', () => {
  test('an event pays again what one before it paid', () => {
    const payments = [...facts.payments, { ...channel, paid: 10n, settled: 30n }]
    const verdict = judge({ ...facts, payments }, results, expected)
    expect(verdict.doubleSettled).toBe(1)
    expect(verdict.problems.join('\n')).toContain('settled twice')
  })

  test('two settlements claim one payment', () => {
    const claims = [...facts.claims, { ...channel, settlementId: 'stl_3', paid: 10n }]
    expect(judge({ ...facts, claims }, results, expected).doubleSettled).toBe(1)
  })
})

test('a payment of a settlement that a reorganisation closed is told, and is no problem', () => {
  const verdict = judge({ ...facts, claims: facts.claims.slice(1) }, results, expected)
  expect(verdict).toMatchObject({ unclaimedAtomic: '20', doubleSettled: 0, problems: [] })
})

describe('a problem is told when', () => {
  test.each<[string, Partial<Facts>, RegExp]>([
    ['the merchant received less', { balances: [{ payee, received: 29n }] }, /received: 29 instead of 30/],
    ['a channel is not settled', { channels: [{ ...channel, charged: 30n, settled: 20n }] }, /channel .* mirrored 20/],
    ['a settlement is dead', { unfinished: [{ id: 'stl_9', state: 'dead', errorCode: 'x' }] }, /stl_9 is dead: x/],
    ['somebody asked for a settlement', { requestedByHand: 1 }, /by hand/],
    ['usage waits', { waiting: 2 }, /2 usage events/],
    ['an honest event is in quarantine', { copies: 0 }, /1 events in quarantine of 0 copies/],
    ['a lost call is in quarantine', { quarantined: [{ requestId: 'z', reason: 'r' }] }, /z is in quarantine \(r\)/],
    ['reconciliation differs', { reconcile: { exitCode: 1, output: 'meter' } }, /reconcile: exit code 1/],
    ['a process ended by itself', { surprises: ['gateway-1 ended'] }, /surprise: gateway-1/],
  ])('%s', (_, change, problem) => {
    expect(judge({ ...facts, ...change }, results, expected).problems.join('\n')).toMatch(problem)
  })

  test('a fault did not happen, a crash point was not reached, or calls are missing', () => {
    const failed: FaultResult[] = [{ fault: crash, atSeconds: 1, recoverySeconds: null, problem: 'did not happen' }]
    const { problems, faults, maxRecoverySeconds } = judge(facts, failed, { ...expected, payments: 4 })
    expect({ faults, maxRecoverySeconds }).toEqual({ faults: 0, maxRecoverySeconds: null })
    expect(problems).toEqual([
      'fault #0: did not happen',
      'crash point charge.after was never reached',
      '0 faults of 1',
      '3 payments of 4',
    ])
  })
})
