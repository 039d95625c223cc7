import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { loadAccountState } from '../grants/loadAccountState.ts'
import { updateGrantStates, upsertAccountsFromChain } from '../grants/mirror.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomHex, usdc } from '../testing/fixtures.ts'
import { leaseDue } from '../testing/leaseDue.ts'
import { claimSettlement } from './claimSettlement.ts'
import { listDueSettlements } from './leases.ts'
import { listClaimable } from './listClaimable.ts'
import {
  markConfirmed,
  markDead,
  markIncluded,
  markRetry,
  markSubmitted,
  markTakenBack,
  markUnpayable,
  recordUserOperation,
} from './outcomes.ts'
import { listBlockedPayees, recordPayeeAnswers, takeDuePayeeBlocks } from './payeeBlocks.ts'
import { retakeSettlement } from './retakeSettlement.ts'
import { failureReasons } from './settlement.ts'
import { getSettlement, listTransitions } from './settlements.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date()
const later = (seconds: number) => new Date(now.getTime() + seconds * 1_000)

async function arrangeOwing() {
  const seller = await arrangeMerchant(database.db)
  const grant = await arrangeGrant(database.db, [seller.merchant])
  const charge = { amount: 10_000_000n, cumulativeAmount: 10_000_000n, occurredAtMs: now.getTime() }
  await appendCharges(database.db, [chargeEvent(grant, seller, charge)])
  const claimed = await claimSettlement(database.db, {
    grantId: grant.grantId,
    trigger: 'threshold',
    leaseOwner: 'one',
    leaseMs: 60_000,
    now,
  })
  return { grant, seller, held: { id: claimed?.settlement.id ?? '', owner: 'one' } }
}

async function isDue(id: string, at: Date): Promise<boolean> {
  const works = await leaseDue(database.db, { owner: 'two', leaseMs: 1, now: at })
  return works.some(({ settlement }) => settlement.id === id)
}

test('every state that a settlement was in is a row, with who did it and why', async () => {
  const { db } = database
  const { held, seller } = await arrangeOwing()
  const { id } = held
  const [first, second, txHash] = [randomHex(32), randomHex(32), randomHex(32)]
  await recordUserOperation(db, { ...held, userOpHash: first, userOperation: {} })
  await markSubmitted(db, held)
  await markSubmitted(db, held)
  await markIncluded(db, { ...held, txHash, blockNumber: 7n })
  await markTakenBack(db, held)
  const failure = { reason: 'dropped', errorCode: 'bundler.dropped', errorMessage: 'x' } as const
  await markRetry(db, { ...held, ...failure, nextAttemptAt: now })
  await leaseDue(db, { owner: 'one', leaseMs: 60_000, now })
  await retakeSettlement(db, { ...held, now })
  await recordUserOperation(db, { ...held, userOpHash: second, userOperation: {} })
  await markSubmitted(db, held)
  await markIncluded(db, { ...held, txHash, blockNumber: 9n })
  const items = [{ payee: seller.merchant.payee, paid: 10_000_000n }]
  const outcome = { userOpHash: second, txHash, blockNumber: 9n, gasUsed: 1n, gasCostWei: 1n, items }
  expect(await markConfirmed(db, { ...held, ...outcome })).toBe(true)
  const transitions = await listTransitions(db, id)
  const shown = transitions.map(({ from, to, reason, attempt, userOpHash }) => [from, to, reason, attempt, userOpHash])
  expect(shown).toEqual([
    [null, 'pending', null, 0, null],
    ['pending', 'intended', null, 0, first],
    ['intended', 'submitted', null, 0, first],
    ['submitted', 'included', null, 0, first],
    ['included', 'submitted', 'reorganised', 0, first],
    ['submitted', 'failed', 'dropped', 1, first],
    ['failed', 'retried', null, 1, first],
    ['retried', 'intended', null, 1, second],
    ['intended', 'submitted', null, 1, second],
    ['submitted', 'included', null, 1, second],
    ['included', 'confirmed', null, 1, second],
  ])
  expect(transitions.every(({ worker }) => worker === 'one')).toBe(true)
  expect(transitions.at(-1)).toMatchObject({ txHash })
})

test('the history cannot be changed by a service', async () => {
  const { held } = await arrangeOwing()
  const { db } = database
  await expect(
    db.execute(`update settlement_transition set to_state = 'dead' where settlement_id = '${held.id}'`),
  ).rejects.toMatchObject({ cause: { code: '42501' } })
  await expect(
    db.execute(`delete from settlement_transition where settlement_id = '${held.id}'`),
  ).rejects.toMatchObject({ cause: { code: '42501' } })
})

test('every reason of the list is known to Postgres, and nothing fails without one', async () => {
  const { held } = await arrangeOwing()
  for (const reason of failureReasons) {
    await database.query('update settlement set failure_reason = $1 where id = $2', [reason, held.id])
  }
  await expect(
    database.query("update settlement set state = 'failed', failure_reason = null where id = $1", [held.id]),
  ).rejects.toMatchObject({ code: '23514' })
  await expect(
    database.query("update settlement set failure_reason = 'bored' where id = $1", [held.id]),
  ).rejects.toMatchObject({ code: '23514' })
})

test('what cannot be paid waits without counting an attempt, and is due at once when a later block raised the funds', async () => {
  const { held, grant } = await arrangeOwing()
  const { id } = held
  const failure = { reason: 'allowance_gone', errorCode: 'claim.allowance', errorMessage: 'x' } as const
  const wait = { ...failure, nextAttemptAt: later(900), lookedBlock: 200n }
  expect(await markUnpayable(database.db, { ...held, ...wait })).toBe(true)
  expect(await getSettlement(database.db, id)).toMatchObject({ state: 'failed', attempts: 0, waits: 1 })
  const mirror = (allowance: bigint, blockNumber: bigint) =>
    upsertAccountsFromChain(database.db, [
      {
        account: grant.account,
        token: usdc,
        balance: 1_000_000_000n,
        allowance,
        accountFrozen: false,
        guardian: grant.account,
        epoch: 0n,
        blockNumber,
      },
    ])
  expect(await isDue(id, later(1))).toBe(false)
  await mirror(0n, 199n)
  await mirror(5n, 200n)
  // The look has seen this block.
  expect(await isDue(id, later(2))).toBe(false)
  await mirror(4n, 201n)
  expect(await isDue(id, later(3))).toBe(false)
  await mirror(20_000_000n, 202n)
  expect(await isDue(id, later(4))).toBe(true)
  expect(await isDue((await arrangeOwing()).held.id, later(900))).toBe(true)
})

test('a frozen grant is due when the mirror shows that it was unfrozen', async () => {
  const { held, grant } = await arrangeOwing()
  await updateGrantStates(database.db, [{ ...grant, status: 'frozen', blockNumber: 101n }])
  const failure = { reason: 'grant_frozen', errorCode: 'grant.frozen', errorMessage: 'x' } as const
  await markUnpayable(database.db, { ...held, ...failure, nextAttemptAt: later(900), lookedBlock: 101n })
  expect(await isDue(held.id, later(1))).toBe(false)
  await updateGrantStates(database.db, [{ ...grant, status: 'active', blockNumber: 102n }])
  expect(await isDue(held.id, later(2))).toBe(true)
})

test('a payee whom the token does not pay is neither claimed nor served until it is paid again', async () => {
  const { db } = database
  const { held, grant, seller } = await arrangeOwing()
  const { payee } = seller.merchant
  const token = grant.terms.token
  const statusOf = async () => (await loadAccountState(db, grant.account, token))?.grants[0]?.channels[0]?.status
  const answer = (blocked: boolean, at = now) => recordPayeeAnswers(db, [{ token, payee, blocked }], at)
  await answer(false)
  expect(await listBlockedPayees(db, [grant.grantId])).toEqual([])
  await answer(true)
  expect(await statusOf()).toBe('frozen')
  expect(await listBlockedPayees(db, [grant.grantId])).toEqual([{ grantId: grant.grantId, payee, since: now }])
  const failure = { reason: 'payee_blocked', errorCode: 'claim.payee_blocked', errorMessage: 'x' } as const
  await markUnpayable(db, { ...held, ...failure, nextAttemptAt: later(900), lookedBlock: 5n })
  expect(await isDue(held.id, later(1))).toBe(false)

  // Other grants of the payee's are not begun.
  const other = await arrangeGrant(db, [seller.merchant])
  const charge = { amount: 10_000_000n, cumulativeAmount: 10_000_000n, occurredAtMs: now.getTime() }
  await appendCharges(db, [chargeEvent(other, seller, charge)])
  const isClaimable = async () => {
    const found = await listClaimable(db, { now, limit: 1_000, expiryMarginSeconds: 0 })
    return found.some(({ grantId }) => grantId === other.grantId)
  }
  expect(await isClaimable()).toBe(false)

  // Asked about by one worker at a time, ever more rarely.
  expect(await takeDuePayeeBlocks(db, { now: later(59), limit: 10 })).toEqual([])
  expect(await takeDuePayeeBlocks(db, { now: later(60), limit: 10 })).toMatchObject([{ payee, checks: 0 }])
  expect(await takeDuePayeeBlocks(db, { now: later(60), limit: 10 })).toEqual([])
  await answer(true, later(60))
  expect(await takeDuePayeeBlocks(db, { now: later(119), limit: 10 })).toEqual([])
  expect(await takeDuePayeeBlocks(db, { now: later(120), limit: 10 })).toMatchObject([{ checks: 1, since: now }])
  for (let count = 0; count < 20; count++) await answer(true, later(120))
  expect(await takeDuePayeeBlocks(db, { now: later(120 + 3_599), limit: 10 })).toEqual([])
  expect(await takeDuePayeeBlocks(db, { now: later(120 + 3_600), limit: 10 })).toHaveLength(1)

  await answer(false)
  expect(await statusOf()).toBe('active')
  expect(await isClaimable()).toBe(true)
  expect(await isDue(held.id, later(2))).toBe(true)
})

test('a worker whose lease is gone can write none of it', async () => {
  const { held } = await arrangeOwing()
  const late = { id: held.id, owner: 'two' }
  const failure = { reason: 'internal', errorCode: 'x', errorMessage: 'x', nextAttemptAt: now } as const
  const hash: Hex = randomHex(32)
  expect(await recordUserOperation(database.db, { ...late, userOpHash: hash, userOperation: {} })).toBe(false)
  expect(await markIncluded(database.db, { ...late, txHash: hash, blockNumber: 1n })).toBe(false)
  expect(await markTakenBack(database.db, late)).toBe(false)
  expect(await markUnpayable(database.db, { ...late, ...failure, lookedBlock: 1n })).toBe(false)
  expect(await markDead(database.db, { ...late, ...failure })).toBe(false)
  expect(await listTransitions(database.db, held.id)).toHaveLength(1)
})

test('a worker is shown only grants whose operations its key may sign, before and after they are begun', async () => {
  const { grant, held } = await arrangeOwing()
  const seller = await arrangeMerchant(database.db)
  const other = await arrangeGrant(database.db, [seller.merchant])
  const charge = { amount: 10_000_000n, cumulativeAmount: 10_000_000n, occurredAtMs: now.getTime() }
  await appendCharges(database.db, [chargeEvent(other, seller, charge)])
  const shownTo = async (settler: Address | undefined) => {
    const options = { now: later(60), limit: 1_000, expiryMarginSeconds: 0, settler }
    const due = (await listDueSettlements(database.db, options)).map(({ id }) => id)
    const owed = (await listClaimable(database.db, options)).map(({ grantId }) => grantId)
    return [due.includes(held.id), owed.includes(other.grantId)]
  }
  expect(await shownTo(undefined)).toEqual([true, true])
  expect(await shownTo(grant.terms.settler)).toEqual([true, false])
  expect(await shownTo(other.terms.settler)).toEqual([false, true])
  expect(await shownTo(other.terms.sessionKey)).toEqual([false, true])
  expect(await shownTo(grant.account)).toEqual([false, false])
})
