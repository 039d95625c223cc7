import { expect, test } from 'vitest'
import { type AttackReport, findAttackDifferences, formatAttackReport, lossOf } from './attackReport.ts'

const guardian = '0x00000000000000000000000000000000000000aa'
const good: AttackReport = {
  budgetAtomic: '50000000',
  priceAtomic: '10000',
  servedBefore: 20,
  servedToThief: 120,
  refusedToThief: 40,
  servedWhileFrozen: 0,
  chargedAtomic: '1410000',
  rule: 'calls.per_minute',
  explanation: 'It made 101 calls within a minute.',
  refusedAfterMs: 40,
  frozenOnChainAfterMs: 300,
  frozenBy: guardian,
  freezeTransaction: '0x01',
  guardian,
  alerts: ['incident.opened', 'incident.stopped'],
  ownerSignatures: 1,
  servedAfterUnfreeze: 1,
}

test('what is as told has no difference, and says what was lost and saved', () => {
  expect(findAttackDifferences(good)).toEqual([])
  expect(lossOf(good)).toEqual({ lostAtomic: 1_200_000n, savedAtomic: 48_600_000n })
  expect(formatAttackReport(good, 6)).toContain('48.6 USDC')
})

test.each<[string, Partial<AttackReport>]>([
  ['a charge too many', { chargedAtomic: '1420000' }],
  ['a thief who was never refused', { refusedAfterMs: null }],
  ['a call served while frozen', { servedWhileFrozen: 1 }],
  ['no freeze on the chain', { frozenOnChainAfterMs: null }],
  ['a freeze by somebody else', { frozenBy: '0x00000000000000000000000000000000000000bb' }],
  ['no alert', { alerts: ['incident.opened'] }],
  ['a second signature of the owner', { ownerSignatures: 2 }],
  ['an agent that is not served again', { servedAfterUnfreeze: 0, chargedAtomic: '1400000' }],
])('%s is a difference', (_, change) => {
  expect(findAttackDifferences({ ...good, ...change })).toHaveLength(1)
})
