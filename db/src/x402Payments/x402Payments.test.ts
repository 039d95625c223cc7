import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeMerchant, randomAddress, randomHex, x402Payment } from '../testing/fixtures.ts'
import { closeX402Settlement, recordX402Transaction } from './settleX402Payment.ts'
import { takeX402Payment } from './takeX402Payment.ts'
import type { X402Payment } from './x402Payment.ts'
import {
  dropX402Lease,
  findX402Payment,
  findX402PaymentByIdentifier,
  listX402Payments,
  listX402Transitions,
  markX402Answered,
  releaseX402Payment,
  renewX402Leases,
  resumeX402Payment,
} from './x402Payments.ts'
import {
  listOpenX402Transactions,
  listX402Transactions,
  replaceX402Transaction,
  takeOverX402Settlements,
} from './x402Transactions.ts'

let database: TestDatabase
let seller: Awaited<ReturnType<typeof arrangeMerchant>>
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  seller = await arrangeMerchant(database.db)
})
afterAll(() => database.drop())

const now = new Date('2030-01-01T00:00:00Z')
const later = (ms: number) => new Date(now.getTime() + ms)
const lease = { owner: 'gateway-1', leaseMs: 10_000, now }

async function taken(change: Parameters<typeof x402Payment>[1] = {}): Promise<X402Payment> {
  const payment = await takeX402Payment(database.db, x402Payment(seller, change), lease)
  if (!payment) throw new Error('the payment was not given')
  return payment
}

function send(id: string, change: { sender?: `0x${string}`; now?: Date; owner?: string } = {}) {
  return recordX402Transaction(database.db, {
    id,
    owner: 'gateway-1',
    purpose: 'transfer',
    sender: randomAddress(),
    now,
    chainNonce: 0,
    sign: async (nonce) => ({ rawTransaction: `0x${nonce.toString(16).padStart(2, '0')}`, hash: randomHex(32) }),
    ...change,
  })
}

const states = async ({ id }: X402Payment) =>
  (await listX402Transitions(database.db, id)).map(({ fromState, toState }) => `${fromState ?? ''}>${toState}`)

test('of many who ask for an authorisation at once, one is given it', async () => {
  const payment = x402Payment(seller)
  const owners = Array.from({ length: 40 }, (_, index) => `gateway-${index}`)
  const given = await Promise.all(owners.map((owner) => takeX402Payment(database.db, payment, { ...lease, owner })))
  const [row, ...others] = given.filter((one) => one !== undefined)
  expect(others).toEqual([])
  expect(row).toMatchObject({ ...payment, state: 'verified', txHash: null })
  expect(await findX402Payment(database.db, payment)).toEqual(row)
}, 60_000)

test('what was released may be taken again, for another request too', async () => {
  const payment = await taken()
  expect(await releaseX402Payment(database.db, { id: payment.id, owner: 'gateway-2', reason: 'x' })).toBe(false)
  expect(await releaseX402Payment(database.db, { id: payment.id, owner: 'gateway-1', reason: 'upstream' })).toBe(true)
  const again = await taken({ ...payment, fingerprint: 'another' })
  expect(again).toMatchObject({ id: payment.id, state: 'verified', fingerprint: 'another', reason: null })
  expect(await states(payment)).toEqual(['>verified', 'verified>released', 'released>verified'])
})

test('a process that is gone before anything was sent leaves the authorisation to others, one that lives does not', async () => {
  const payment = await taken()
  const ask = (at: Date) =>
    takeX402Payment(database.db, x402Payment(seller, payment), { owner: 'b', leaseMs: 1, now: at })
  expect(await ask(later(9_000))).toBeUndefined()
  await renewX402Leases(database.db, 'gateway-1', later(20_000))
  expect(await ask(later(11_000))).toBeUndefined()
  expect(await ask(later(21_000))).toMatchObject({ id: payment.id, leaseOwner: 'b' })
  // Who was taken for dead sends nothing.
  expect(await send(payment.id)).toBeUndefined()
})

test('a name stands for one payment of a payer to a payee, until that one was not served', async () => {
  const paymentIdentifier = 'the-name-of-a-request'
  const payer = randomAddress()
  const first = await taken({ payer, paymentIdentifier })
  const second = x402Payment(seller, { payer, paymentIdentifier })
  expect(await takeX402Payment(database.db, second, lease)).toBeUndefined()
  expect(await taken({ paymentIdentifier })).toMatchObject({ paymentIdentifier })
  await releaseX402Payment(database.db, { id: first.id, owner: 'gateway-1', reason: 'upstream' })
  expect(await takeX402Payment(database.db, second, lease)).toMatchObject({ paymentIdentifier })
  const found = { payee: seller.merchant.payee, payer, identifier: paymentIdentifier }
  expect(await findX402PaymentByIdentifier(database.db, found)).toMatchObject({ nonce: second.nonce })
})

test('transactions of a sender have nonces that follow each other, whoever sends', async () => {
  const sender = randomAddress()
  const payments = await Promise.all(Array.from({ length: 20 }, () => taken()))
  const sent = await Promise.all(payments.map(({ id }) => send(id, { sender })))
  expect(sent.map((one) => one?.nonce).toSorted((a = 0, b = 0) => a - b)).toEqual(
    Array.from({ length: 20 }, (_, i) => i),
  )
  const open = await listOpenX402Transactions(database.db, { sender, fromNonce: 15, limit: 3 })
  expect(open.map(({ nonce }) => nonce)).toEqual([15, 16, 17])
})

test('a signature that fails reserves nothing', async () => {
  const payment = await taken()
  const sender = randomAddress()
  const sign = async () => {
    throw new Error('no key')
  }
  const base = { id: payment.id, owner: 'gateway-1', purpose: 'transfer', sender, now, chainNonce: 7 } as const
  await expect(recordX402Transaction(database.db, { ...base, sign })).rejects.toThrow('no key')
  expect(await findX402Payment(database.db, payment)).toMatchObject({ state: 'verified' })
  expect(await send(payment.id, { sender })).toMatchObject({ nonce: 0 })
})

test('a settlement ends once, its answer is owed until it is given, and one of those who ask gives it', async () => {
  const payment = await taken()
  const transaction = await send(payment.id)
  const txHash = randomHex(32)
  const outcome = { state: 'settled', txHash, blockNumber: 7n } as const
  const included = { id: transaction?.id ?? '', txHash, gasUsed: 1n, gasCostWei: 2n }
  expect(await closeX402Settlement(database.db, { id: payment.id, outcome, included })).toBe(true)
  const failed = { state: 'failed', reason: 'expired' } as const
  expect(await closeX402Settlement(database.db, { id: payment.id, outcome: failed })).toBe(false)
  expect(await listX402Transactions(database.db, payment.id)).toMatchObject([{ state: 'included', gasCostWei: 2n }])

  const resume = (owner: string, at: Date) =>
    resumeX402Payment(database.db, { id: payment.id, owner, leaseMs: 10_000, now: at })
  expect(await resume('b', later(1_000))).toBe(false)
  expect(await Promise.all([resume('b', later(11_000)), resume('c', later(11_000))])).toContain(false)
  await markX402Answered(database.db, payment.id, later(12_000))
  expect(await resume('d', later(100_000))).toBe(false)
  expect(await states(payment)).toEqual(['>verified', 'verified>settling', 'settling>settled'])
  expect(await takeX402Payment(database.db, x402Payment(seller, payment), lease)).toBeUndefined()
  expect((await listX402Payments(database.db, { limit: 200 })).items.map(({ id }) => id)).toContain(payment.id)
})

test('a settlement whose process is gone is taken over by one', async () => {
  const payment = await taken()
  await send(payment.id)
  const owners = ['b', 'c', 'd']
  const takeOver = (at: Date) =>
    Promise.all(
      owners.map((owner) => takeOverX402Settlements(database.db, { owner, leaseMs: 60_000, now: at, limit: 50 })),
    )
  const ids = (found: X402Payment[][]) => found.flat().filter(({ id }) => id === payment.id)
  expect(ids(await takeOver(later(5_000)))).toEqual([])
  await dropX402Lease(database.db, { id: payment.id, owner: 'gateway-1' }, later(5_000))
  // Who gave it up lives, and keeps what it has not given up.
  await renewX402Leases(database.db, 'gateway-1', later(20_000))
  expect(ids(await takeOver(later(5_001)))).toHaveLength(1)
})

test('of two who raise the fees of a transaction at once, one does', async () => {
  const transaction = await send((await taken()).id)
  const version = { id: transaction?.id ?? '', versions: 1, rawTransaction: '0xff', hash: randomHex(32), now } as const
  const replaced = await Promise.all([
    replaceX402Transaction(database.db, version),
    replaceX402Transaction(database.db, { ...version, hash: randomHex(32) }),
  ])
  expect(replaced.toSorted()).toEqual([false, true])
})
