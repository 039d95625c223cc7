import type { Address } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { appendCharges } from '../journal/appendCharges.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress, randomHex } from '../testing/fixtures.ts'
import { claimSettlement } from './claimSettlement.ts'
import { chooseLane, listBusyAccounts } from './lanes.ts'
import { leaseSettlement } from './leases.ts'
import { markRetry, recordUserOperation } from './outcomes.ts'
import { retakeSettlement } from './retakeSettlement.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date(Date.UTC(2026, 10, 21, 12))
const later = (ms: number) => new Date(now.getTime() + ms)
const stuckMs = 45_000

test.each([
  ['a free account begins in lane 0', [], 0],
  ['one that is under way keeps others out', [[0, 44_999]], undefined],
  ['a stuck one does not, and keeps its lane', [[0, 45_000]], 1],
  ['the lowest free lane comes first', [[1, 60_000]], 0],
  [
    'one of several that is not stuck keeps others out',
    [
      [0, 90_000],
      [1, 1_000],
    ],
    undefined,
  ],
  [
    'four are the most',
    [
      [0, 90_000],
      [1, 90_000],
      [2, 90_000],
      [3, 90_000],
    ],
    undefined,
  ],
] as const)('%s', (_, held, expected) => {
  const lanes = held.map(([lane, ageMs]) => ({ lane, since: later(-ageMs) }))
  expect(chooseLane(lanes, { now, stuckMs })).toBe(expected)
})

/** Grants of one account that each owe enough. */
async function arrangeAccount(grants: number): Promise<{ account: Address; grantIds: `0x${string}`[] }> {
  const seller = await arrangeMerchant(database.db)
  const account = randomAddress()
  const grantIds: `0x${string}`[] = []
  for (let index = 0; index < grants; index++) {
    const grant = await arrangeGrant(database.db, [seller.merchant], { account })
    const charge = { amount: 10_000_000n, cumulativeAmount: 10_000_000n, occurredAtMs: now.getTime() }
    await appendCharges(database.db, [chargeEvent(grant, seller, charge)])
    grantIds.push(grant.grantId)
  }
  return { account, grantIds }
}

const claim = (grantId: `0x${string}`, at = now, leaseOwner = 'one') =>
  claimSettlement(database.db, { grantId, trigger: 'threshold', leaseOwner, leaseMs: 1_000, now: at, stuckMs })

test('whoever claims at once, no two settlements of an account are given the same lane', async () => {
  const { account, grantIds } = await arrangeAccount(6)
  const lanes: number[] = []
  for (let round = 0; round < 5; round++) {
    const at = later(round * stuckMs)
    const works = await Promise.all(grantIds.map((grantId, index) => claim(grantId, at, `w${index}`)))
    const taken = works.flatMap((work) => (work ? [work.settlement.lane] : []))
    expect(taken).toHaveLength(round < 4 ? 1 : 0)
    lanes.push(...taken)
  }
  expect(lanes).toEqual([0, 1, 2, 3])
  expect(await listBusyAccounts(database.db, [account, randomAddress()], { now: later(9e9), stuckMs })).toEqual([
    account,
  ])
})

test('one that failed gives its lane back, and takes one when it is taken up again', async () => {
  const { grantIds } = await arrangeAccount(2)
  const [first, second] = grantIds as [`0x${string}`, `0x${string}`]
  const id = (await claim(first))?.settlement.id ?? ''
  expect(await claim(second)).toBeUndefined()
  const failure = { reason: 'reverted', errorCode: 'x', errorMessage: 'x', nextAttemptAt: now } as const
  expect(await markRetry(database.db, { id, owner: 'one', ...failure })).toBe(true)
  expect((await claim(second))?.settlement.lane).toBe(0)
  const lease = { id, owner: 'two', leaseMs: 60_000 }
  expect(await leaseSettlement(database.db, { ...lease, now })).toMatchObject({ settlement: { state: 'failed' } })
  expect(await retakeSettlement(database.db, { id, owner: 'one', now, stuckMs })).toBe('lost')
  expect(await retakeSettlement(database.db, { id, owner: 'two', now, stuckMs })).toBe('busy')
  const retaken = await retakeSettlement(database.db, { id, owner: 'two', now: later(stuckMs), stuckMs })
  expect(retaken).toMatchObject({ settlement: { state: 'retried', lane: 1, attempts: 1, laneSince: later(stuckMs) } })
  expect(await retakeSettlement(database.db, { id, owner: 'two', now: later(stuckMs), stuckMs })).toBe('lost')
})

test('what was never sent gets its amounts anew, what was sent keeps them', async () => {
  for (const wasSent of [false, true]) {
    const seller = await arrangeMerchant(database.db)
    const grant = await arrangeGrant(database.db, [seller.merchant])
    const chargeMore = (amount: bigint, cumulativeAmount: bigint) =>
      appendCharges(database.db, [
        chargeEvent(grant, seller, { amount, cumulativeAmount, occurredAtMs: now.getTime() }),
      ])
    await chargeMore(10_000_000n, 10_000_000n)
    const id = (await claim(grant.grantId))?.settlement.id ?? ''
    const held = { id, owner: 'one' }
    if (wasSent) await recordUserOperation(database.db, { ...held, userOpHash: randomHex(32), userOperation: {} })
    const failure = { reason: 'balance_too_low', errorCode: 'x', errorMessage: 'x', nextAttemptAt: now } as const
    await markRetry(database.db, { ...held, ...failure })
    await chargeMore(5n, 10_000_005n)
    await leaseSettlement(database.db, { ...held, leaseMs: 60_000, now })
    expect(await retakeSettlement(database.db, { ...held, now, stuckMs })).toMatchObject({
      items: [{ amount: wasSent ? 10_000_000n : 10_000_005n }],
    })
  }
})
