import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { clearControl, setControl } from '../controls/controls.ts'
import { unfreezeGrant } from '../controls/freezeGrant.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import {
  arrangeGrant,
  arrangeMerchant,
  chargeEvent,
  grantFromChain,
  randomAddress,
  randomHex,
  usdc,
} from '../testing/fixtures.ts'
import { ensureChannel, getChannel, listChannels } from './channels.ts'
import { getGrant, listGrants, registerPendingGrant } from './grants.ts'
import { listAccountFunds } from './listAccountFunds.ts'
import { loadAccountState } from './loadAccountState.ts'
import { updateGrantStates, upsertAccountsFromChain, upsertChannelsFromChain, upsertGrantsFromChain } from './mirror.ts'
import type { ReservePool } from './reservePool.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const zeroAddress = '0x0000000000000000000000000000000000000000'
const start = Date.UTC(2026, 10, 21, 12)

describe('the mirror of the chain', () => {
  test('a registered grant waits as pending until the chain shows it', async () => {
    const payees = [randomAddress()]
    const seen = grantFromChain({ account: randomAddress(), status: 'active', blockNumber: 7n, payees })
    expect(await registerPendingGrant(database.db, seen)).toBe(true)
    expect(await registerPendingGrant(database.db, seen)).toBe(false)
    expect(await getGrant(database.db, seen.grantId)).toMatchObject({ status: 'pending', effectiveStatus: 'pending' })
    await upsertGrantsFromChain(database.db, [seen])
    expect(await getGrant(database.db, seen.grantId)).toMatchObject({
      ...seen.terms,
      grantId: seen.grantId,
      account: seen.account,
      status: 'active',
      effectiveStatus: 'active',
      blockNumber: 7n,
      packedTerms: expect.stringMatching(/^0x[0-9a-f]{314}$/),
    })
    expect(await registerPendingGrant(database.db, seen)).toBe(false)
    expect(await getGrant(database.db, seen.grantId)).toMatchObject({ status: 'active' })
  })

  test('an older block never overwrites a newer one', async () => {
    const grant = await arrangeGrant(database.db, [], { payeeRoot: randomHex(32), blockNumber: 50n })
    const state = { ...grant, settled: 9n, status: 'frozen' as const, blockNumber: 49n }
    await updateGrantStates(database.db, [state])
    await upsertGrantsFromChain(database.db, [state])
    expect(await getGrant(database.db, grant.grantId)).toMatchObject({ status: 'active', settled: 0n })
    await updateGrantStates(database.db, [{ ...state, blockNumber: 50n }])
    expect(await getGrant(database.db, grant.grantId)).toMatchObject({ status: 'frozen', settled: 9n })

    const { account } = grant
    const funds = { account, token: usdc, accountFrozen: false, guardian: account, epoch: 0n }
    await upsertAccountsFromChain(database.db, [{ ...funds, balance: 1n, allowance: 1n, blockNumber: 49n }])
    expect((await loadAccountState(database.db, account, usdc))?.funds.allowance).toBe(500_000_000n)

    const channel = { grantId: grant.grantId, payee: randomAddress() }
    await upsertChannelsFromChain(database.db, [{ ...channel, settled: 5n, blockNumber: 50n }])
    await upsertChannelsFromChain(database.db, [{ ...channel, settled: 4n, blockNumber: 49n }])
    expect(await getChannel(database.db, channel.grantId, channel.payee)).toMatchObject({
      settled: 5n,
      merchantId: null,
    })
  })

  test('an unlimited allowance fits', async () => {
    const account = randomAddress()
    const allowance = 2n ** 256n - 1n
    const state = { account, token: usdc, balance: 5n, allowance, accountFrozen: false, epoch: 0n, blockNumber: 1n }
    await upsertAccountsFromChain(database.db, [{ ...state, guardian: zeroAddress }])
    expect(await loadAccountState(database.db, account, usdc)).toEqual({
      account,
      token: usdc,
      block: 1n,
      funds: { allowance: 5n, reserve: 0n },
      grants: [],
    })
  })

  test('what is asked back of the reserve is not there to be charged, however little vouchers left', async () => {
    const account = randomAddress()
    const none = { balance: 0n, allowance: 0n, accountFrozen: false, guardian: zeroAddress, epoch: 0n } as const
    const write = (reserve: ReservePool, blockNumber: bigint) =>
      upsertAccountsFromChain(database.db, [{ account, token: usdc, ...none, reserve, blockNumber }])
    const funds = async () => (await loadAccountState(database.db, account, usdc))?.funds
    await write({ balance: 2n ** 96n - 1n, withdrawing: 0n, withdrawableAt: 0 }, 1n)
    expect(await funds()).toEqual({ allowance: 0n, reserve: 2n ** 96n - 1n })
    const asked = { balance: 50n, withdrawing: 20n, withdrawableAt: 1_800_000_000 }
    await write(asked, 2n)
    expect(await funds()).toEqual({ allowance: 0n, reserve: 30n })
    await write({ ...asked, balance: 19n }, 1n)
    expect(await listAccountFunds(database.db, [account, randomAddress()], usdc)).toEqual([
      { account, balance: 0n, allowance: 0n, reserve: asked, accountFrozen: false, blockNumber: 2n },
    ])
    await write({ ...asked, balance: 19n }, 3n)
    expect(await funds()).toEqual({ allowance: 0n, reserve: 0n })
    expect(await listAccountFunds(database.db, [], usdc)).toEqual([])
  })

  test('a payee who collected before anybody opened the channel keeps what the chain settled', async () => {
    const seller = await arrangeMerchant(database.db)
    const { payee, id: merchantId } = seller.merchant
    const grant = await arrangeGrant(database.db, [], { payeeRoot: randomHex(32) })
    await upsertChannelsFromChain(database.db, [{ grantId: grant.grantId, payee, settled: 40n, blockNumber: 101n }])
    expect(await getChannel(database.db, grant.grantId, payee)).toMatchObject({ merchantId, settled: 40n })
    const proof = [randomHex(32), randomHex(32)]
    await ensureChannel(database.db, { grantId: grant.grantId, payee, merchantId, payeeProof: proof })
    await ensureChannel(database.db, { grantId: grant.grantId, payee, merchantId, payeeProof: proof })
    expect(await listChannels(database.db, grant.grantId)).toMatchObject([
      { settled: 40n, payeeProof: proof, charged: 0n },
    ])
  })
})

describe('the status of a grant is the strictest of all that can stop it', () => {
  const status = async (grantId: `0x${string}`) => (await getGrant(database.db, grantId))?.effectiveStatus

  test("the operator's control", async () => {
    const { grantId } = await arrangeGrant(database.db, [], { payeeRoot: randomHex(32) })
    const control = { grantId, merchantId: null, holder: 'operator', reason: 'burst', actor: 'operator' } as const
    const sentinels = { ...control, holder: 'sentinel' } as const
    await setControl(database.db, { ...control, state: 'frozen' })
    await setControl(database.db, { ...sentinels, state: 'frozen' })
    expect(await status(grantId)).toBe('frozen')
    expect(await unfreezeGrant(database.db, { grantId, merchantId: null, holders: ['sentinel'] })).toBe(true)
    expect(await unfreezeGrant(database.db, { grantId, merchantId: null, holders: ['sentinel'] })).toBe(false)
    expect(await status(grantId)).toBe('frozen')
    await setControl(database.db, { ...control, state: 'removed' })
    expect(await status(grantId)).toBe('revoked')
    expect(await clearControl(database.db, control)).toBe(true)
    expect(await clearControl(database.db, control)).toBe(false)
    expect(await status(grantId)).toBe('active')
  })

  test('the account: frozen as a whole, or in a later epoch', async () => {
    const grant = await arrangeGrant(database.db, [], { payeeRoot: randomHex(32) })
    const account = { account: grant.account, token: usdc, balance: 1n, allowance: 1n, guardian: grant.account }
    await upsertAccountsFromChain(database.db, [{ ...account, accountFrozen: true, epoch: 0n, blockNumber: 101n }])
    expect(await status(grant.grantId)).toBe('frozen')
    await upsertAccountsFromChain(database.db, [{ ...account, accountFrozen: false, epoch: 1n, blockNumber: 102n }])
    expect(await status(grant.grantId)).toBe('revoked')
  })

  test('a control never brings a grant back', async () => {
    const grant = await arrangeGrant(database.db, [], { payeeRoot: randomHex(32), status: 'revoked' })
    await setControl(database.db, {
      ...grant,
      merchantId: null,
      holder: 'operator',
      state: 'frozen',
      reason: 'x',
      actor: 'x',
    })
    expect(await status(grant.grantId)).toBe('revoked')
  })
})

test('the state of an account holds all that a meter needs', async () => {
  const first = await arrangeMerchant(database.db)
  const second = await arrangeMerchant(database.db)
  const grant = await arrangeGrant(database.db, [first.merchant, second.merchant], { periodLimit: 50n, period: 60 })
  const pending = grantFromChain({ account: grant.account, status: 'active', blockNumber: 1n, payees: [usdc] })
  await registerPendingGrant(database.db, pending)
  await appendCharges(database.db, [
    chargeEvent(grant, first, { amount: 30n, cumulativeAmount: 45n, occurredAtMs: start }),
  ])
  await upsertChannelsFromChain(database.db, [
    { grantId: grant.grantId, payee: first.merchant.payee, settled: 10n, blockNumber: 140n },
  ])
  await updateGrantStates(database.db, [
    { ...grant, settled: 10n, periodIndex: 3, periodSettled: 10n, status: 'active', blockNumber: 140n },
  ])
  const control = { grantId: grant.grantId, merchantId: second.merchant.id, reason: 'abuse', actor: 'key_1' }
  await setControl(database.db, { ...control, holder: 'merchant', state: 'removed' })
  await setControl(database.db, { ...control, holder: 'rule', state: 'frozen' })

  expect(await loadAccountState(database.db, grant.account, usdc)).toEqual({
    account: grant.account,
    token: usdc,
    block: 140n,
    funds: { allowance: 500_000_000n, reserve: 0n },
    grants: [
      {
        grantId: grant.grantId,
        source: 'allowance',
        status: 'active',
        validAfter: 1_700_000_000,
        validUntil: 4_000_000_000,
        totalLimit: 100_000_000n,
        periodLimit: 50n,
        period: 60,
        settled: 10n,
        periodIndex: 3,
        periodSettled: 10n,
        channels: expect.toSatisfy((channels: { payee: string }[]) => channels.length === 2),
      },
    ],
  })
  const state = await loadAccountState(database.db, grant.account, usdc)
  expect(state?.grants[0]?.channels).toEqual(
    expect.arrayContaining([
      { payee: first.merchant.payee, authorized: 45n, charged: 30n, settled: 10n, status: 'active' },
      { payee: second.merchant.payee, authorized: 0n, charged: 0n, settled: 0n, status: 'revoked' },
    ]),
  )
  expect(await loadAccountState(database.db, randomAddress(), usdc)).toBeUndefined()
})

test('grants are found by session key and account, page by page', async () => {
  const account = randomAddress()
  const sessionKey = randomAddress()
  const created: string[] = []
  for (let index = 0; index < 5; index++) {
    created.push((await arrangeGrant(database.db, [], { payeeRoot: randomHex(32), account, sessionKey })).grantId)
  }
  const first = await listGrants(database.db, { sessionKey, limit: 3 })
  const second = await listGrants(database.db, { account, limit: 3, cursor: first.nextCursor })
  expect([...first.items, ...second.items].map(({ grantId }) => grantId).toSorted()).toEqual(created.toSorted())
  expect(second.nextCursor).toBeUndefined()
  expect((await listGrants(database.db, { sessionKey, account: randomAddress() })).items).toEqual([])
})
