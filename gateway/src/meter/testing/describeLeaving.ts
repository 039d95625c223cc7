import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { AccountState, GrantState, Meter } from '../meter.ts'
import {
  accountStateOf,
  channelStateOf,
  createPayer,
  grantStateOf,
  type Payer,
  randomBytes32,
  useOf,
} from './builders.ts'
import type { MeterStore } from './describeMeter.ts'

const soonMs = 1
const longMs = 3_600_000
const timeout = 120_000

/** What of a meter's memory goes when grants end, whatever the meter is made of. */
export function describeLeaving(name: string, createStore: () => Promise<MeterStore>): void {
  describe(name, () => {
    let store: MeterStore
    let payer: Payer
    let quick: Meter
    let slow: Meter

    beforeEach(async () => {
      store = await createStore()
      payer = createPayer()
      quick = store.open('gateway-1', { endedRetentionMs: soonMs })
      slow = store.open('gateway-2', { endedRetentionMs: longMs })
      await Promise.all([quick.ping(), slow.ping()])
    })
    afterEach(() => store.remove())

    const stateOf = (grant: Partial<GrantState>, changes: Partial<AccountState> = {}) =>
      accountStateOf(payer, { grants: [grantStateOf(payer, grant)], ...changes })
    const knows = async (meter = slow) => (await meter.read(payer.account, payer.grantId)) !== undefined
    const codeOf = async (use = useOf(payer)) => {
      const decision = await slow.charge(use)
      return decision.ok ? 'ok' : decision.code
    }
    const untilGone = () => expect.poll(() => knows(), { timeout: timeout / 2 }).toBe(false)
    /** Until what was to leave at once has left: then whatever is still there stays. */
    const untilOthersLeave = async () => {
      const other = createPayer()
      await quick.mirror(accountStateOf(other, { grants: [grantStateOf(other, { status: 'revoked' })] }))
      await expect.poll(() => quick.read(other.account, other.grantId), { timeout: timeout / 2 }).toBeUndefined()
    }

    test.each([
      ['revoked', { status: 'revoked' as const }],
      ['past its end', { validAfter: 1_000, validUntil: 2_000 }],
    ])('a grant that is %s and owes nothing leaves, and its account with it', { timeout }, async (_, ended) => {
      await slow.mirror(stateOf({}))
      expect(await codeOf()).toBe('ok')
      const channels = [channelStateOf(payer, { authorized: 1_000n, charged: 10n, settled: 10n })]
      await quick.mirror(stateOf({ ...ended, channels }))
      await untilGone()
      await expect
        .poll(() => slow.holds(payer.account, accountStateOf(payer).token), { timeout: timeout / 2 })
        .toBe(false)
      expect(await codeOf()).toBe('grant.unknown')
    })

    test('what has left comes back when it is asked for, not by the way, and is charged nothing', {
      timeout,
    }, async () => {
      const channels = [channelStateOf(payer, { authorized: 1_000n, charged: 10n, settled: 10n })]
      const other = { ...payer, grantId: randomBytes32() }
      const ended = grantStateOf(payer, { status: 'revoked', channels, ended: true })
      const state = accountStateOf(payer, { grants: [ended, grantStateOf(other)] })
      await slow.mirror(state)
      expect([await knows(), await codeOf(useOf(other))]).toEqual([false, 'ok'])
      await slow.mirror({ ...state, requests: [] })
      expect([await knows(), await codeOf()]).toEqual([true, 'grant.revoked'])
      // A settlement that was late, and a look at the same: nothing is counted twice.
      const late = { ...ended, channels: [channelStateOf(payer, { authorized: 1_000n, charged: 10n, settled: 20n })] }
      await slow.mirror({ ...state, grants: [late], block: 2n })
      expect(await slow.read(payer.account, other.grantId)).toMatchObject({ owed: 10n, accountOutstanding: 10n })
    })

    test('a grant that leaves takes nothing from what its account still counts', { timeout }, async () => {
      const other = { ...payer, grantId: randomBytes32() }
      const both = accountStateOf(payer, { grants: [grantStateOf(payer), grantStateOf(other)] })
      await slow.mirror(both)
      expect([await codeOf(), await codeOf(useOf(other))]).toEqual(['ok', 'ok'])
      const channels = [channelStateOf(payer, { authorized: 1_000n, charged: 10n, settled: 10n })]
      await quick.mirror({
        ...both,
        grants: [grantStateOf(payer, { status: 'revoked', channels }), grantStateOf(other)],
      })
      await untilGone()
      expect(await slow.read(payer.account, other.grantId)).toMatchObject({ owed: 10n, accountOutstanding: 10n })
      expect(await codeOf(useOf(other))).toBe('ok')
    })

    test('what owes stays, whatever has become of its grant', { timeout }, async () => {
      await slow.mirror(stateOf({}))
      expect(await codeOf()).toBe('ok')
      const channels = [channelStateOf(payer, { authorized: 1_000n, charged: 10n })]
      await quick.mirror(stateOf({ status: 'revoked', channels }))
      await untilOthersLeave()
      expect(await slow.read(payer.account, payer.grantId)).toMatchObject({ owed: 10n, accountOutstanding: 10n })
      await quick.mirror(
        stateOf({ status: 'revoked', channels: [{ ...channelStateOf(payer), charged: 10n, settled: 10n }] }),
      )
      await untilGone()
    })

    test('what the journal does not have yet stays until it does', { timeout }, async () => {
      await slow.mirror(stateOf({}))
      expect(await codeOf()).toBe('ok')
      // The payee has collected ahead: nothing is owed.
      const ahead = (charged: bigint) => [channelStateOf(payer, { authorized: 1_000n, charged, settled: 500n })]
      await quick.mirror(stateOf({ status: 'revoked', channels: ahead(0n) }))
      await untilOthersLeave()
      expect(await slow.read(payer.account, payer.grantId)).toMatchObject({ owed: 0n, accountOutstanding: 0n })
      await quick.mirror(stateOf({ status: 'revoked', channels: ahead(10n) }))
      await untilGone()
    })

    test('what was about to leave is kept by a charge, and by being live again', { timeout }, async () => {
      // By this meter's clock it is past its end; by the clock of who charges it is not.
      await slow.mirror(stateOf({}))
      expect(await codeOf()).toBe('ok')
      expect(await slow.read(payer.account, payer.grantId)).toMatchObject({ owed: 10n, accountOutstanding: 10n })
      const revoked = createPayer()
      await slow.mirror(accountStateOf(revoked, { grants: [grantStateOf(revoked, { status: 'revoked' })] }))
      const live = { validUntil: Math.floor(Date.now() / 1_000) + 100_000 }
      await quick.mirror(accountStateOf(revoked, { grants: [grantStateOf(revoked, live)] }))
      await untilOthersLeave()
      expect(await slow.read(revoked.account, revoked.grantId)).toMatchObject({ status: 'active' })
      expect(await knows()).toBe(true)
    })
  })
}
