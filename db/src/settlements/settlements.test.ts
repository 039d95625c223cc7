import type { GrantTerms, Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import {
  type GrantFromChain,
  updateGrantStates,
  upsertAccountsFromChain,
  upsertChannelsFromChain,
} from '../grants/mirror.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import type { Service } from '../services/services.ts'
import { updateService } from '../services/services.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress, randomHex, usdc } from '../testing/fixtures.ts'
import { leaseDue } from '../testing/leaseDue.ts'
import { claimSettlement } from './claimSettlement.ts'
import { releaseSettlement, renewSettlementLease } from './leases.ts'
import { listClaimable } from './listClaimable.ts'
import {
  markConfirmed,
  markDead,
  markRetry,
  markSubmitted,
  recordUserOperation,
  retryDeadSettlement,
  writeOffSettlement,
} from './outcomes.ts'
import { requestSettlement } from './requestSettlement.ts'
import { getSettlement, listSettlements } from './settlements.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const now = new Date(Date.UTC(2026, 10, 21, 12))
const nowSeconds = now.getTime() / 1_000
const later = (seconds: number) => new Date(now.getTime() + seconds * 1_000)

type Options = { service?: Partial<Service>; terms?: Partial<GrantTerms> & { status?: GrantFromChain['status'] } }

/** A grant that owes `owed` at one merchant since `now`. */
async function arrangeOwing(owed: bigint, { service = {}, terms = {} }: Options = {}) {
  const seller = await arrangeMerchant(database.db, service)
  const grant = await arrangeGrant(database.db, [seller.merchant], terms)
  const charge = chargeEvent(grant, seller, { amount: owed, cumulativeAmount: owed, occurredAtMs: now.getTime() })
  await appendCharges(database.db, [charge])
  return { seller, grant, charge, grantId: grant.grantId }
}

/** What would be settled of this one grant. */
async function claimable(grantId: Hex, at = now, options: { skippedBackoffSeconds?: number } = {}) {
  const found = await listClaimable(database.db, { now: at, limit: 1_000, expiryMarginSeconds: 600, ...options })
  return found.find((claim) => claim.grantId === grantId)
}

const claim = (grantId: Hex, change: Partial<Parameters<typeof claimSettlement>[1]> = {}) =>
  claimSettlement(database.db, {
    grantId,
    trigger: 'threshold',
    leaseOwner: 'one',
    leaseMs: 60_000,
    now,
    ...change,
  })

const confirmation = (id: string, blockNumber: bigint, items: Parameters<typeof markConfirmed>[1]['items']) => ({
  id,
  owner: 'one',
  userOpHash: randomHex(32),
  txHash: randomHex(32),
  blockNumber,
  gasUsed: 150_000n,
  gasCostWei: 10n ** 15n,
  items,
})

async function moveIndexer(block: bigint): Promise<void> {
  await database.query(
    `insert into indexer_cursor (name, block_number, block_hash, checked_at) values ('module', $1, $2, now())
     on conflict (name) do update set block_number = excluded.block_number`,
    [block.toString(), randomHex(32)],
  )
}

describe('a grant is claimable', () => {
  test('when it owes the threshold of its merchant, and not below', async () => {
    const enough = await arrangeOwing(10_000_000n)
    const little = await arrangeOwing(9_999_999n)
    expect(await claimable(enough.grantId)).toEqual({
      grantId: enough.grantId,
      account: enough.grant.account,
      trigger: 'threshold',
      validUntil: enough.grant.terms.validUntil,
      dueSince: later(86_400),
      withdrawn: false,
      stopping: false,
      source: 'allowance',
      owed: 10_000_000n,
    })
    expect(await claimable(little.grantId)).toBeUndefined()
  })

  test('by the sum over its payees, and the lowest threshold among their enabled services', async () => {
    const first = await arrangeMerchant(database.db, { threshold: 100n })
    const second = await arrangeMerchant(database.db, { threshold: 300n })
    const grant = await arrangeGrant(database.db, [first.merchant, second.merchant])
    const at = now.getTime()
    await appendCharges(database.db, [
      chargeEvent(grant, first, { amount: 40n, cumulativeAmount: 40n, occurredAtMs: at }),
      chargeEvent(grant, second, { amount: 60n, cumulativeAmount: 60n, occurredAtMs: at }),
    ])
    expect(await claimable(grant.grantId)).toMatchObject({ trigger: 'threshold', owed: 100n })
    await updateService(database.db, first.service.id, { enabled: false })
    expect(await claimable(grant.grantId)).toBeUndefined()
  })

  test('when its oldest unsettled charge is as old as its merchant allows', async () => {
    const { grantId } = await arrangeOwing(5n, { service: { maxAgeSeconds: 60 } })
    expect(await claimable(grantId, later(59))).toBeUndefined()
    expect(await claimable(grantId, later(60))).toMatchObject({ trigger: 'age', owed: 5n })
  })

  test('shortly before it ends, and never after', async () => {
    const { grantId } = await arrangeOwing(5n, { terms: { validUntil: nowSeconds + 1_000 } })
    expect(await claimable(grantId, later(399))).toBeUndefined()
    expect(await claimable(grantId, later(400))).toMatchObject({ trigger: 'expiry' })
    expect(await claimable(grantId, later(1_000))).toMatchObject({ trigger: 'expiry' })
    expect(await claimable(grantId, later(1_001))).toBeUndefined()
  })

  test('when a withdrawal takes money of the reserve that its grants owe, and not while it leaves enough', async () => {
    const source = 'reserve' as const
    const first = await arrangeOwing(5n, { terms: { source } })
    const { account } = first.grant
    const second = await arrangeGrant(database.db, [first.seller.merchant], { source, account })
    const credit = await arrangeGrant(database.db, [first.seller.merchant], { account })
    const owing = { amount: 6n, cumulativeAmount: 6n, occurredAtMs: now.getTime() }
    await appendCharges(database.db, [
      chargeEvent(second, first.seller, owing),
      chargeEvent(credit, first.seller, owing),
    ])
    const all = async () => {
      const found = await Promise.all([first, second, credit].map(({ grantId }) => claimable(grantId)))
      return found.map((grant) => grant && [grant.trigger, grant.owed])
    }
    const mirror = (balance: bigint, withdrawing: bigint) =>
      upsertAccountsFromChain(database.db, [
        {
          account,
          token: usdc,
          balance: 1_000n,
          allowance: 1_000n,
          accountFrozen: false,
          guardian: account,
          epoch: 0n,
          reserve: { balance, withdrawing, withdrawableAt: nowSeconds + 86_400 },
          blockNumber: 100n,
        },
      ])
    await mirror(100n, 0n)
    expect(await all()).toEqual([undefined, undefined, undefined])
    await mirror(100n, 89n)
    expect(await all()).toEqual([undefined, undefined, undefined])
    await mirror(100n, 90n)
    expect(await all()).toEqual([['withdrawal', 5n], ['withdrawal', 6n], undefined])
    expect((await claim(first.grantId, { trigger: 'withdrawal' }))?.settlement).toMatchObject({ trigger: 'withdrawal' })
    // Its payment is mirrored: the other is due still.
    const paid = [{ grantId: first.grantId, payee: first.seller.merchant.payee, settled: 5n, blockNumber: 101n }]
    await upsertChannelsFromChain(database.db, paid)
    await mirror(95n, 90n)
    expect(await all()).toEqual([undefined, ['withdrawal', 6n], undefined])
  })

  test('when somebody asked for it, as long as it owes anything', async () => {
    const { grantId, seller } = await arrangeOwing(5n)
    const request = { grantId, merchantId: seller.merchant.id, actor: 'key_1' }
    const first = await requestSettlement(database.db, request)
    expect(first?.id).toMatch(/^srq_/)
    expect(await requestSettlement(database.db, request)).toEqual(first)
    const asked = new Date()
    expect(await claimable(grantId, asked)).toMatchObject({ trigger: 'request' })
    expect(await claim(grantId, { trigger: 'request' })).toBeDefined()
    const idle = await arrangeGrant(database.db, [seller.merchant])
    expect(await requestSettlement(database.db, { ...request, grantId: idle.grantId })).toBeUndefined()
    expect(await requestSettlement(database.db, { ...request, grantId: randomHex(32) })).toBeUndefined()
  })

  test('only up to the newest voucher in the journal', async () => {
    const { grant, seller, grantId } = await arrangeOwing(10_000_000n)
    // Covered by a voucher whose own request was released, so the journal never saw it.
    const charge = { amount: 10_000_000n, cumulativeAmount: 12_000_000n, occurredAtMs: now.getTime() }
    await appendCharges(database.db, [chargeEvent(grant, seller, charge)])
    expect(await claimable(grantId)).toMatchObject({ owed: 12_000_000n })
    expect((await claim(grantId))?.items).toMatchObject([{ amount: 12_000_000n, cumulativeAmount: 12_000_000n }])
  })

  test.each(['frozen', 'revoked', 'none'] as const)('not when the chain shows it as %s', async (status) => {
    const { grant, grantId } = await arrangeOwing(10_000_000n)
    await updateGrantStates(database.db, [{ ...grant, status }])
    expect(await claimable(grantId)).toBeUndefined()
  })

  test.each([
    { accountFrozen: true, epoch: 0n },
    { accountFrozen: false, epoch: 1n },
  ])('not when its account is stopped: %o', async (stop) => {
    const { grant, grantId } = await arrangeOwing(10_000_000n)
    const account = { account: grant.account, token: usdc, balance: 1n, allowance: 1n, guardian: randomAddress() }
    await upsertAccountsFromChain(database.db, [{ ...account, ...stop, blockNumber: 101n }])
    expect(await claimable(grantId)).toBeUndefined()
  })

  test('in the order: ending soon, overdue, most owed', async () => {
    await database.query('update channel set settled = charged')
    const small = await arrangeOwing(10_000_001n)
    const large = await arrangeOwing(20_000_000n)
    const ending = await arrangeOwing(1n, { terms: { validUntil: nowSeconds + 60 } })
    const asked = await arrangeOwing(2n)
    await requestSettlement(database.db, { grantId: asked.grantId, merchantId: null, actor: 'operator' })
    const askedAt = later(-600).toISOString()
    await database.query('update settlement_request set created_at = $1 where grant_id = $2', [askedAt, asked.grantId])
    const found = await listClaimable(database.db, { now, limit: 3, expiryMarginSeconds: 600 })
    expect(found.map(({ grantId }) => grantId)).toEqual([ending.grantId, asked.grantId, large.grantId])
    const all = await listClaimable(database.db, { now, limit: 10, expiryMarginSeconds: 600 })
    expect(all.at(-1)?.grantId).toBe(small.grantId)
  })
})

describe('claiming', () => {
  test('records what to pay whom by which voucher, with the grant that pays', async () => {
    const { grant, grantId, seller, charge } = await arrangeOwing(10_000_000n)
    const work = await claim(grantId)
    expect(work).toMatchObject({
      settlement: { grantId, account: grant.account, state: 'pending', lane: 0, attempts: 0, leaseUntil: later(60) },
      grant: { ...grant.terms, grantId },
      items: [
        {
          payee: seller.merchant.payee,
          merchantId: seller.merchant.id,
          amount: 10_000_000n,
          cumulativeAmount: 10_000_000n,
          signature: charge.signature,
          payeeProof: [],
          paid: null,
        },
      ],
    })
  })

  test('of one grant by many workers at once succeeds once', async () => {
    const { grantId } = await arrangeOwing(10_000_000n)
    const works = await Promise.all(
      Array.from({ length: 8 }, (_, index) => claim(grantId, { leaseOwner: `w${index}` })),
    )
    expect(works.filter((work) => work !== undefined)).toHaveLength(1)
    expect((await listSettlements(database.db, { grantId })).items).toHaveLength(1)
    expect(await claimable(grantId)).toBeUndefined()
  })

  test('takes the payees that are owed most when there are more than fit', async () => {
    const sellers = await Promise.all([1, 2, 3].map(() => arrangeMerchant(database.db)))
    const grant = await arrangeGrant(
      database.db,
      sellers.map(({ merchant }) => merchant),
    )
    await appendCharges(
      database.db,
      sellers.map((seller, index) => {
        const amount = [5_000_000n, 9_000_000n, 7_000_000n][index] ?? 0n
        return chargeEvent(grant, seller, { amount, cumulativeAmount: amount, occurredAtMs: now.getTime() })
      }),
    )
    const work = await claim(grant.grantId, { maxItems: 2 })
    expect(work?.items.map(({ amount }) => amount).toSorted()).toEqual([7_000_000n, 9_000_000n])
    expect(work?.items.every(({ payeeProof }) => payeeProof.length > 0)).toBe(true)
  })

  test('of a grant that owes nothing, or does not exist, does nothing', async () => {
    const { grantId, seller } = await arrangeOwing(10_000_000n)
    const { payee } = seller.merchant
    await upsertChannelsFromChain(database.db, [{ grantId, payee, settled: 10_000_000n, blockNumber: 101n }])
    expect(await claim(grantId)).toBeUndefined()
    expect(await claim(randomHex(32))).toBeUndefined()
    expect((await listSettlements(database.db, { grantId })).items).toEqual([])
  })
})

describe('leases', () => {
  const lease = async (id: string, owner: string, at: Date) => {
    const works = await leaseDue(database.db, { owner, leaseMs: 60_000, now: at })
    return works.find(({ settlement }) => settlement.id === id)
  }

  test('a settlement whose worker is gone goes to another when the lease ends, and the first can no longer write', async () => {
    const work = await claim((await arrangeOwing(10_000_000n)).grantId)
    const id = work?.settlement.id ?? ''
    expect(await lease(id, 'two', later(59))).toBeUndefined()
    expect(await lease(id, 'two', later(60))).toMatchObject({ items: work?.items, settlement: { leaseOwner: 'two' } })
    const late = {
      id,
      owner: 'one',
      reason: 'internal',
      errorCode: 'x',
      errorMessage: 'x',
      nextAttemptAt: now,
    } as const
    expect(await markSubmitted(database.db, late)).toBe(false)
    expect(await markRetry(database.db, late)).toBe(false)
    expect(await markDead(database.db, late)).toBe(false)
    expect(await markConfirmed(database.db, confirmation(id, 1n, []))).toBe(false)
    expect(await renewSettlementLease(database.db, { ...late, until: later(500) })).toBe(false)
    expect(await getSettlement(database.db, id)).toMatchObject({ state: 'pending', attempts: 0 })
  })

  test('a renewed lease holds, a released one is due at its moment', async () => {
    const id = (await claim((await arrangeOwing(10_000_000n)).grantId))?.settlement.id ?? ''
    expect(await renewSettlementLease(database.db, { id, owner: 'one', until: later(300) })).toBe(true)
    expect(await lease(id, 'two', later(299))).toBeUndefined()
    expect(await releaseSettlement(database.db, { id, owner: 'one', nextAttemptAt: later(400) })).toBe(true)
    expect(await lease(id, 'two', later(399))).toBeUndefined()
    expect(await lease(id, 'two', later(400))).toBeDefined()
  })

  test('many workers at once each get other settlements', async () => {
    const ids: string[] = []
    for (let index = 0; index < 12; index++) {
      ids.push((await claim((await arrangeOwing(10_000_000n)).grantId))?.settlement.id ?? '')
    }
    const due = later(7_200)
    const batches = await Promise.all(
      Array.from({ length: 6 }, (_, index) => leaseDue(database.db, { owner: `w${index}`, leaseMs: 60_000, now: due })),
    )
    const leased = batches.flat().map(({ settlement }) => settlement.id)
    expect(new Set(leased).size).toBe(leased.length)
    for (const id of ids) expect(leased).toContain(id)
  })
})

describe('outcomes', () => {
  test('every attempt is remembered before it is sent, so that any of them can be found on-chain', async () => {
    const id = (await claim((await arrangeOwing(10_000_000n)).grantId))?.settlement.id ?? ''
    const [first, second] = [randomHex(32), randomHex(32)]
    const held = { id, owner: 'one' }
    const operation = { nonce: '0x1' }
    expect(await recordUserOperation(database.db, { ...held, userOpHash: first, userOperation: operation })).toBe(true)
    expect(await recordUserOperation(database.db, { ...held, userOpHash: first, userOperation: operation })).toBe(true)
    expect(await markSubmitted(database.db, held)).toBe(true)
    expect(await getSettlement(database.db, id)).toMatchObject({ state: 'submitted', earlierUserOpHashes: [] })
    await recordUserOperation(database.db, { ...held, userOpHash: second, userOperation: { nonce: '0x2' } })
    expect(await getSettlement(database.db, id)).toMatchObject({
      userOpHash: second,
      userOperation: { nonce: '0x2' },
      earlierUserOpHashes: [first],
    })
  })

  test('a confirmed settlement says what was paid, and another may follow once the mirror has seen its block', async () => {
    const { grantId, grant, seller } = await arrangeOwing(10_000_000n)
    const { payee } = seller.merchant
    await moveIndexer(500n)
    const id = (await claim(grantId))?.settlement.id ?? ''
    const outcome = confirmation(id, 501n, [{ payee, paid: 10_000_000n }])
    expect(await markConfirmed(database.db, outcome)).toBe(true)
    expect(await markConfirmed(database.db, outcome)).toBe(false)
    expect(await getSettlement(database.db, id)).toMatchObject({
      state: 'confirmed',
      userOpHash: outcome.userOpHash,
      txHash: outcome.txHash,
      blockNumber: 501n,
      gasCostWei: 10n ** 15n,
      leaseOwner: null,
      items: [{ payee, paid: 10_000_000n, skippedReason: null }],
    })
    // The mirror still shows the money as owed.
    expect(await claimable(grantId)).toBeUndefined()
    expect(await claim(grantId)).toBeUndefined()
    await upsertChannelsFromChain(database.db, [{ grantId, payee, settled: 10_000_000n, blockNumber: 501n }])
    await moveIndexer(501n)
    expect(await claimable(grantId)).toBeUndefined()
    const next = { amount: 10_000_000n, cumulativeAmount: 20_000_000n, occurredAtMs: now.getTime() + 5 }
    await appendCharges(database.db, [chargeEvent(grant, seller, next)])
    expect(await claimable(grantId)).toMatchObject({ owed: 10_000_000n })
    expect((await claim(grantId))?.items).toMatchObject([{ amount: 20_000_000n }])
  })

  test('a claim that the chain skipped rests, unless somebody asks for it', async () => {
    const { grantId, seller } = await arrangeOwing(10_000_000n)
    const id = (await claim(grantId))?.settlement.id ?? ''
    await moveIndexer(700n)
    const items = [{ payee: seller.merchant.payee, paid: 0n, skippedReason: 'InvalidSignature' }]
    expect(await markConfirmed(database.db, confirmation(id, 600n, items))).toBe(true)
    const real = new Date()
    expect(await claimable(grantId, real)).toBeUndefined()
    expect(await claim(grantId, { now: real })).toBeUndefined()
    expect(await claimable(grantId, new Date(real.getTime() + 3_601_000))).toMatchObject({ trigger: 'threshold' })
    await requestSettlement(database.db, { grantId, merchantId: null, actor: 'operator' })
    expect(await claimable(grantId, new Date())).toMatchObject({ trigger: 'request' })
    expect((await claim(grantId, { trigger: 'request', now: real }))?.items).toHaveLength(1)
  })

  test('a failed attempt is counted and due again later', async () => {
    const id = (await claim((await arrangeOwing(10_000_000n)).grantId))?.settlement.id ?? ''
    const failure = {
      id,
      owner: 'one',
      reason: 'unavailable',
      errorCode: 'bundler.unavailable',
      errorMessage: 'x'.repeat(5_000),
    } as const
    expect(await markRetry(database.db, { ...failure, nextAttemptAt: later(5) })).toBe(true)
    const failed = await getSettlement(database.db, id)
    expect(failed).toMatchObject({ state: 'failed', attempts: 1, errorCode: 'bundler.unavailable', leaseOwner: null })
    expect(failed?.errorMessage).toHaveLength(2_000)
    const works = await leaseDue(database.db, { owner: 'two', leaseMs: 1, now: later(5) })
    expect(works.map(({ settlement }) => settlement.id)).toContain(id)
  })

  test('a dead settlement stops its grant until an operator retries it or writes it off', async () => {
    const { grantId } = await arrangeOwing(10_000_000n)
    const id = (await claim(grantId))?.settlement.id ?? ''
    const failure = {
      id,
      owner: 'one',
      reason: 'reverted',
      errorCode: 'userop.reverted',
      errorMessage: 'AA23',
    } as const
    expect(await retryDeadSettlement(database.db, id)).toBe(false)
    expect(await markDead(database.db, failure)).toBe(true)
    expect(await claimable(grantId)).toBeUndefined()
    expect(await claim(grantId)).toBeUndefined()

    expect(await retryDeadSettlement(database.db, id)).toBe(true)
    const due = await leaseDue(database.db, { owner: 'one', leaseMs: 60_000, now: later(100) })
    expect(due.find(({ settlement }) => settlement.id === id)?.settlement).toMatchObject({
      state: 'failed',
      attempts: 0,
    })
    expect(await markDead(database.db, failure)).toBe(true)

    expect(await writeOffSettlement(database.db, id)).toBe(true)
    expect(await writeOffSettlement(database.db, id)).toBe(false)
    expect(await retryDeadSettlement(database.db, id)).toBe(false)
    expect(await claimable(grantId)).toMatchObject({ trigger: 'threshold' })
    expect((await listSettlements(database.db, { grantId, state: 'dead' })).items.map((dead) => dead.id)).toEqual([id])
  })
})
