import { afterAll, beforeEach, expect, inject, test } from 'vitest'
import { getChannel } from '../grants/channels.ts'
import { getGrant } from '../grants/grants.ts'
import { appendCharges } from '../journal/appendCharges.ts'
import { claimSettlement } from '../settlements/claimSettlement.ts'
import { markConfirmed } from '../settlements/outcomes.ts'
import { getSettlement } from '../settlements/settlements.ts'
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
import {
  advance,
  type ChainEvent,
  deleteAbove,
  eventsAbove,
  getCursor,
  type IndexedBlock,
  type IndexerStep,
  listIndexedBlocks,
  listLiveAccounts,
} from './indexer.ts'

// Each test has its own chain.
let database: TestDatabase | undefined
beforeEach(async () => {
  await database?.drop()
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database?.drop())

function db() {
  if (!database) throw new Error('no database')
  return database.db
}

const name = 'module'
const checkedAt = new Date(Date.UTC(2026, 10, 21, 12))
const nothing = { events: [], grants: [], grantStates: [], accounts: [], channels: [] }

function blocksOf(from: number, to: number): IndexedBlock[] {
  return Array.from({ length: to - from + 1 }, (_, index) => ({ number: BigInt(from + index), hash: randomHex(32) }))
}

function step(change: Partial<IndexerStep>): IndexerStep {
  return { name, from: undefined, blocks: [], checkedAt, ...nothing, ...change }
}

function eventOf(block: IndexedBlock, logIndex: number): ChainEvent {
  return {
    blockNumber: block.number,
    blockHash: block.hash,
    logIndex,
    txHash: randomHex(32),
    name: 'Settled',
    account: randomAddress(),
    grantId: randomHex(32),
    payee: null,
    data: { amount: '5' },
  }
}

test('a step mirrors everything it brings, and moves the cursor, together', async () => {
  const { merchant } = await arrangeMerchant(db())
  const { payee } = merchant
  const account = randomAddress()
  const grant = grantFromChain({ account, status: 'active', blockNumber: 12n, payees: [payee] })
  const blocks = blocksOf(10, 12)
  const [block] = blocks
  if (!block) throw new Error('no block')
  const event = eventOf(block, 0)
  const funds = { account, token: usdc, balance: 9n, allowance: 8n, accountFrozen: false, guardian: account, epoch: 0n }
  const full = step({
    blocks,
    events: [event],
    grants: [grant],
    accounts: [{ ...funds, blockNumber: 12n }],
    channels: [{ grantId: grant.grantId, payee, settled: 3n, blockNumber: 12n }],
  })
  expect(await getCursor(db(), name)).toBeUndefined()
  expect(await advance(db(), full)).toBe(true)
  expect(await getCursor(db(), name)).toEqual({ name, blockNumber: 12n, blockHash: blocks[2]?.hash, checkedAt })
  expect(await eventsAbove(db(), 9n)).toEqual([event])
  expect(await eventsAbove(db(), 10n)).toEqual([])
  expect(await getGrant(db(), grant.grantId)).toMatchObject({ status: 'active' })
  expect(await getChannel(db(), grant.grantId, payee)).toMatchObject({ settled: 3n, merchantId: merchant.id })
  expect(await listIndexedBlocks(db())).toEqual(blocks.toReversed())
  expect(await listLiveAccounts(db(), { now: checkedAt, limit: 10 })).toEqual([{ account, token: usdc }])
  const after = { account, token: usdc }
  expect(await listLiveAccounts(db(), { now: checkedAt, limit: 10, after })).toEqual([])
})

test('of two indexers that read the same blocks one moves on, and the other changes nothing', async () => {
  const first = blocksOf(1, 1)
  expect(await advance(db(), step({ blocks: first }))).toBe(true)
  expect(await advance(db(), step({ blocks: blocksOf(1, 1) }))).toBe(false)
  const results = await Promise.all([0, 1, 2].map(() => advance(db(), step({ from: 1n, blocks: blocksOf(2, 3) }))))
  expect(results.filter(Boolean)).toHaveLength(1)
  expect((await getCursor(db(), name))?.blockNumber).toBe(3n)
})

test('a look at an unchanged chain is remembered as such', async () => {
  expect(await advance(db(), step({}))).toBe(false)
  await advance(db(), step({ blocks: blocksOf(5, 5) }))
  const later = new Date(checkedAt.getTime() + 1_000)
  expect(await advance(db(), step({ from: 5n, checkedAt: later }))).toBe(true)
  expect(await getCursor(db(), name)).toMatchObject({ blockNumber: 5n, checkedAt: later })
})

test('the newest 256 blocks are kept', async () => {
  await advance(db(), step({ blocks: blocksOf(1, 200) }))
  await advance(db(), step({ from: 200n, blocks: blocksOf(201, 900) }))
  await advance(db(), step({ from: 900n, blocks: blocksOf(901, 910) }))
  const numbers = (await listIndexedBlocks(db())).map(({ number }) => number)
  expect(numbers).toEqual(Array.from({ length: 256 }, (_, index) => 910n - BigInt(index)))
})

test('a range with thousands of events is written whole', async () => {
  const blocks = blocksOf(1, 1)
  const [block] = blocks
  if (!block) throw new Error('no block')
  const events = Array.from({ length: 2_500 }, (_, index) => eventOf(block, index))
  expect(await advance(db(), step({ blocks, events }))).toBe(true)
  expect((await eventsAbove(db(), 0n)).map(({ logIndex }) => logIndex)).toEqual(events.map(({ logIndex }) => logIndex))
})

test('after a fork what lay above it is forgotten, told, and accepted again from older blocks', async () => {
  const { merchant } = await arrangeMerchant(db())
  const { payee } = merchant
  const account = randomAddress()
  const grant = grantFromChain({ account, status: 'active', blockNumber: 11n, payees: [payee] })
  const kept = blocksOf(10, 10)
  const lost = blocksOf(11, 12)
  const [fork] = kept
  const [above] = lost
  if (!fork || !above) throw new Error('no block')
  const channel = { grantId: grant.grantId, payee, settled: 3n, blockNumber: 12n }
  const funds = { account, token: usdc, balance: 9n, allowance: 8n, accountFrozen: false, guardian: account, epoch: 0n }
  await advance(db(), step({ blocks: kept, events: [eventOf(fork, 0)] }))
  const accounts = [{ ...funds, blockNumber: 12n }]
  const events = [eventOf(above, 0)]
  await advance(db(), step({ from: 10n, blocks: lost, events, grants: [grant], accounts, channels: [channel] }))

  expect(await deleteAbove(db(), { name, block: fork, checkedAt })).toEqual({
    grantIds: [grant.grantId],
    accounts: [{ account, token: usdc }],
    channels: [{ grantId: grant.grantId, payee }],
  })
  expect(await getCursor(db(), name)).toMatchObject({ blockNumber: 10n, blockHash: fork.hash })
  expect(await eventsAbove(db(), 0n)).toHaveLength(1)
  expect(await listIndexedBlocks(db())).toEqual(kept)

  const again = step({
    from: 10n,
    blocks: blocksOf(11, 11),
    grantStates: [{ ...grant, status: 'none' }],
    channels: [{ ...channel, settled: 0n, blockNumber: 11n }],
  })
  expect(await advance(db(), again)).toBe(true)
  expect(await getGrant(db(), grant.grantId)).toMatchObject({ status: 'none', blockNumber: 11n })
  expect(await getChannel(db(), grant.grantId, payee)).toMatchObject({ settled: 0n })
  expect(await deleteAbove(db(), { name: 'other', block: fork, checkedAt })).toBeUndefined()
})

/** Confirmed at a block, by its worker. */
async function settle(blockNumber = 12n) {
  const txHash = randomHex(32)
  const seller = await arrangeMerchant(db())
  const grant = await arrangeGrant(db(), [seller.merchant])
  const charge = { amount: 50n, cumulativeAmount: 50n, occurredAtMs: checkedAt.getTime() }
  await appendCharges(db(), [chargeEvent(grant, seller, charge)])
  const claim = () =>
    claimSettlement(db(), {
      grantId: grant.grantId,
      trigger: 'request',
      leaseOwner: 'one',
      leaseMs: 1_000,
      now: checkedAt,
    })
  const id = (await claim())?.settlement.id ?? ''
  const confirmed = await markConfirmed(db(), {
    id,
    owner: 'one',
    userOpHash: randomHex(32),
    txHash,
    blockNumber,
    gasUsed: 1n,
    gasCostWei: 1n,
    items: [{ payee: seller.merchant.payee, paid: 50n }],
  })
  expect(confirmed).toBe(true)
  return { id, claim, grant, payee: seller.merchant.payee, txHash }
}

test('a settlement whose block was lost is open again, one of a grant that has an open one already is written off', async () => {
  const blocks = blocksOf(10, 12)
  const [fork] = blocks
  if (!fork) throw new Error('no block')
  await advance(db(), step({ blocks }))
  const alone = await settle()
  const overtaken = await settle()
  const open = await overtaken.claim()
  expect(open).toBeDefined()

  await deleteAbove(db(), { name, block: fork, checkedAt })
  expect(await getSettlement(db(), alone.id)).toMatchObject({
    state: 'submitted',
    txHash: null,
    errorCode: 'chain.reorganised',
    items: [{ paid: null }],
  })
  expect(await getSettlement(db(), overtaken.id)).toMatchObject({ state: 'dead', writtenOffAt: expect.any(Date) })
  expect(await getSettlement(db(), open?.settlement.id ?? '')).toMatchObject({ state: 'pending' })
})

test('a settlement that says it paid in a block that the mirror read without its payment is open again', async () => {
  const [from, , , last] = blocksOf(20, 23)
  if (!from || !last) throw new Error('no block')
  await database?.query('delete from indexer_cursor')
  await advance(db(), step({ blocks: [from] }))
  // The first two are confirmed before the mirror comes to their block, the third after.
  const [lost, seen] = [await settle(22n), await settle(22n)]
  const event = {
    blockNumber: 22n,
    blockHash: randomHex(32),
    logIndex: 0,
    txHash: seen.txHash,
    name: 'Settled',
    account: seen.grant.account,
    grantId: seen.grant.grantId,
    payee: seen.payee,
    data: { paid: '50', settled: '50' },
  }
  await advance(db(), step({ from: 20n, blocks: blocksOf(21, 22), events: [event] }))
  expect(await getSettlement(db(), lost.id)).toMatchObject({
    state: 'submitted',
    failureReason: 'reorganised',
    txHash: null,
    items: [{ paid: null }],
  })
  expect(await getSettlement(db(), seen.id)).toMatchObject({ state: 'confirmed', txHash: seen.txHash })
  const late = await settle(21n)
  expect(await getSettlement(db(), late.id)).toMatchObject({ state: 'confirmed' })
  await advance(db(), step({ from: 22n, blocks: [last] }))
  expect(await getSettlement(db(), late.id)).toMatchObject({ state: 'submitted' })
  expect(await getSettlement(db(), seen.id)).toMatchObject({ state: 'confirmed' })
})
