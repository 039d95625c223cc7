import type { BreakerView } from '@protocolbanks/stream-db'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type BreakerPolicy, decideBreaker } from './decideBreaker.ts'

const nowMs = Date.UTC(2026, 0, 1)
const policy: BreakerPolicy = { halfOpenMs: 600_000, revokeAfterStops: 3, revokeAtPercent: 0n }
const frozen: BreakerView = {
  grantId: `0x${'01'.repeat(32)}`,
  account: '0x00000000000000000000000000000000000000aa',
  state: 'open',
  since: new Date(nowMs - 60_000),
  incidentId: 'inc_1',
  liftedAt: null,
  updatedAt: new Date(nowMs - 60_000),
  chainStatus: 'frozen',
  stop: { id: 'stp_1', kind: 'freeze', chainState: 'confirmed', refused: true },
  stopsLately: 1,
  unfrozen: false,
  lost: false,
  confirmed: false,
  severity: 'critical',
  accepted: 0n,
  totalLimit: 100n,
}
const stop = (change: Partial<BreakerView['stop']>) => ({ ...frozen.stop, ...change })
const trial = { ...frozen, state: 'half_open', chainStatus: 'active', liftedAt: new Date(nowMs - 599_999) } as const

test.each([
  ['stays open while nobody decides', frozen, undefined],
  ['stays open though confirmed, until its owner signs on the chain', { confirmed: true }, undefined],
  [
    'stays open while the freeze is on its way, whatever the mirror says',
    { confirmed: true, chainStatus: 'active', stop: stop({ chainState: 'sent' }) },
    undefined,
  ],
  [
    'goes half open by the owner’s own signature on the chain',
    { chainStatus: 'active', unfrozen: true },
    { to: 'half_open', why: 'unfrozen' },
  ],
  [
    'goes half open by a confirmation where the chain never took the freeze',
    { confirmed: true, chainStatus: 'active', stop: stop({ chainState: 'impossible' }) },
    { to: 'half_open', why: 'confirmed' },
  ],
  [
    'stays open without a confirmation where the chain never took the freeze',
    { chainStatus: 'active', stop: stop({ chainState: 'impossible' }) },
    undefined,
  ],
  ['is revoked when it happens again and again', { stopsLately: 3 }, { to: 'revoke', why: 'repeated' }],
  [
    'is revoked again and again even when its owner has just resumed it',
    { stopsLately: 3, chainStatus: 'active', unfrozen: true },
    { to: 'revoke', why: 'repeated' },
  ],
  [
    'is frozen once more when the block of its freeze is gone',
    { chainStatus: 'active', lost: true },
    { to: 'stop_again', why: 'reorganisation' },
  ],
  ['waits for its revocation', { stop: stop({ kind: 'revoke', chainState: 'sent' }) }, undefined],
  ['is over when it is revoked on the chain', { chainStatus: 'revoked' }, { to: 'revoked', why: 'on_chain' }],
  [
    'is over when the chain will never take its revocation, and the gateways removed it',
    { stop: stop({ kind: 'revoke', chainState: 'impossible' }) },
    { to: 'revoked', why: 'off_chain' },
  ],
  [
    'waits for the gateways to remove it',
    { stop: stop({ kind: 'revoke', chainState: 'impossible', refused: false }) },
    undefined,
  ],
  ['stays half open for its time', trial, undefined],
  [
    'closes when nothing was found for so long',
    { ...trial, liftedAt: new Date(nowMs - 600_000) },
    {
      to: 'closed',
      why: 'quiet',
    },
  ],
  ['does not close before the gateways serve it again', { ...trial, liftedAt: null, since: new Date(0) }, undefined],
  [
    'that is half open ends when its owner revokes',
    { ...trial, chainStatus: 'revoked' },
    {
      to: 'revoked',
      why: 'on_chain',
    },
  ],
  ['that is closed has nothing to do', { state: 'closed', chainStatus: 'revoked' }, undefined],
] as const)('a breaker %s', (_, change, expected) => {
  expect(decideBreaker({ ...frozen, ...change }, nowMs, policy)).toEqual(expected)
})

test('how much of the budget is at stake revokes only where the operator said from how much on', () => {
  const severe = { ...frozen, accepted: 50n }
  expect(decideBreaker(severe, nowMs, policy)).toBeUndefined()
  const strict = { ...policy, revokeAtPercent: 50n }
  expect(decideBreaker(severe, nowMs, strict)).toEqual({ to: 'revoke', why: 'severe' })
  expect(decideBreaker({ ...severe, accepted: 49n }, nowMs, strict)).toBeUndefined()
  expect(decideBreaker({ ...severe, severity: 'warning' }, nowMs, strict)).toBeUndefined()
})

test('without the owner nothing that is stopped ever goes on', () => {
  const view = fc.record({
    ...Object.fromEntries(Object.entries(frozen).map(([name, value]) => [name, fc.constant(value)])),
    chainStatus: fc.constantFrom('active', 'frozen', 'revoked'),
    stop: fc.record({
      id: fc.constant('stp_1'),
      kind: fc.constantFrom('freeze', 'revoke'),
      chainState: fc.constantFrom('due', 'sent', 'confirmed', 'impossible'),
      refused: fc.boolean(),
    }),
    stopsLately: fc.nat(5),
    lost: fc.boolean(),
    accepted: fc.bigInt(0n, 100n),
  }) as unknown as fc.Arbitrary<BreakerView>
  fc.assert(
    fc.property(view, fc.nat(10 ** 10), (seen, laterMs) => {
      const step = decideBreaker(seen, nowMs + laterMs, { ...policy, revokeAtPercent: 80n })
      expect(step?.to === 'half_open' || step?.to === 'closed').toBe(false)
    }),
  )
})
