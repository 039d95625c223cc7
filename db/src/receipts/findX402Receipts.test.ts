import type { Address } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import type { Tx } from '../createDb.ts'
import { errorCodeOf } from '../errors.ts'
import { withOwner } from '../owners/withOwner.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeMerchant, randomAddress, randomHex, x402Payment } from '../testing/fixtures.ts'
import { withTenant } from '../withTenant.ts'
import { closeX402Settlement, recordX402Transaction } from '../x402Payments/settleX402Payment.ts'
import { takeX402Payment } from '../x402Payments/takeX402Payment.ts'
import { findX402Receipts, listX402Receipts } from './findX402Receipts.ts'

let database: TestDatabase
let mine: Awaited<ReturnType<typeof arrangeMerchant>>
let other: Awaited<ReturnType<typeof arrangeMerchant>>
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  mine = await arrangeMerchant(database.db)
  other = await arrangeMerchant(database.db)
})
afterAll(() => database.drop())

type Change = Parameters<typeof x402Payment>[1]

/** A payment that is being settled. */
async function settling(seller: typeof mine, change: Change = {}) {
  const owner = 'gateway-1'
  const now = new Date()
  const payment = await takeX402Payment(database.db, x402Payment(seller, change), { owner, leaseMs: 60_000, now })
  if (!payment) throw new Error('the payment was not given')
  await recordX402Transaction(database.db, {
    id: payment.id,
    owner,
    purpose: 'transfer',
    sender: randomAddress(),
    now,
    chainNonce: 0,
    sign: async () => ({ rawTransaction: '0x01', hash: randomHex(32) }),
  })
  return payment
}

async function settled(seller: typeof mine, change: Change = {}) {
  const { id } = await settling(seller, change)
  const txHash = randomHex(32)
  await closeX402Settlement(database.db, { id, outcome: { state: 'settled', txHash, blockNumber: 7n } })
  return { id, txHash }
}

const newName = () => `request-${randomHex(8)}`
const ids = (receipts: readonly { id: string }[]) => receipts.map(({ id }) => id)
const asTenant = <T>(seller: typeof mine, run: (tx: Tx) => Promise<T>) =>
  withTenant(database.db, seller.merchant.id, run)

describe.each(['with the privileges of the migrations', 'with every privilege, so that policies alone protect'])(
  '%s',
  (privileges) => {
    beforeAll(async () => {
      if (!privileges.startsWith('with every')) return
      await database.query('grant all on all tables in schema public to stream_owner, stream_tenant')
    })

    test('a merchant never finds what another was paid, by whatever it is looked for', async () => {
      const payer = randomAddress()
      const paymentIdentifier = newName()
      const own = await settled(mine, { payer, paymentIdentifier })
      const theirs = await settled(other, { payer, paymentIdentifier })
      for (const requestId of [paymentIdentifier, theirs.id, theirs.txHash]) {
        const found = await asTenant(mine, (tx) => findX402Receipts(tx, { requestId }))
        expect(ids(found)).toEqual(requestId === paymentIdentifier ? [own.id] : [])
        const at = await asTenant(mine, (tx) => findX402Receipts(tx, { requestId, payee: other.merchant.payee }))
        expect(at).toEqual([])
      }
      const filters = [{}, { merchantId: other.merchant.id }, { serviceId: other.service.id }]
      for (const filter of filters) {
        const { items } = await asTenant(mine, (tx) => listX402Receipts(tx, filter))
        expect(ids(items)).not.toContain(theirs.id)
      }
      const { rows } = await asTenant(mine, (tx) =>
        tx.execute(sql`select id from x402_payment where merchant_id is distinct from ${mine.merchant.id}`),
      )
      expect(rows).toEqual([])
    })

    test('a payer finds what they paid, whoever was paid, and nothing of another payer', async () => {
      const [payer, stranger] = [randomAddress(), randomAddress()]
      const paymentIdentifier = newName()
      const first = await settled(mine, { payer, paymentIdentifier })
      const second = await settled(other, { payer })
      await settled(mine, { payer: stranger, paymentIdentifier })
      const asPayer = <T>(run: (tx: Tx) => Promise<T>) => withOwner(database.db, payer, run)
      expect(ids(await asPayer((tx) => findX402Receipts(tx, { requestId: paymentIdentifier })))).toEqual([first.id])
      expect(ids((await asPayer((tx) => listX402Receipts(tx))).items)).toEqual([second.id, first.id])
      const { rows } = await asPayer((tx) => tx.execute(sql`select id from x402_payment where payer = ${stranger}`))
      expect(rows).toEqual([])
    })

    test.each([sql`update x402_payment set merchant_id = null`, sql`delete from x402_payment`])(
      'neither changes one',
      async (statement) => {
        await settled(mine)
        const count = async (run: (work: (tx: Tx) => Promise<number | null>) => Promise<number | null>) => {
          try {
            return await run(async (tx) => (await tx.execute(statement)).rowCount)
          } catch (error) {
            return errorCodeOf(error)
          }
        }
        for (const done of [
          await count((work) => asTenant(mine, work)),
          await count((work) => withOwner(database.db, randomAddress(), work)),
        ]) {
          expect([0, '42501']).toContain(done)
        }
      },
    )
  },
)

test('an owner is shown nothing that sends an authorisation or belongs to a gateway', async () => {
  // One of its own: in the other one this file has given more away.
  const fresh = await createTestDatabase(inject('postgresUrl'))
  const granted = fresh.query<{ name: string }>(
    `select column_name as name from information_schema.column_privileges
     where table_name = 'x402_payment' and grantee = 'stream_owner'`,
  )
  const rows = await granted.finally(() => fresh.drop())
  const shown = rows.map(({ name }) => name)
  expect(shown).toContain('tx_hash')
  for (const name of ['signature', 'nonce', 'fingerprint', 'lease_owner']) expect(shown).not.toContain(name)
})

test('a payment is found by the name its payer gave it, by its id and by its transaction', async () => {
  const paymentIdentifier = newName()
  const payer: Address = randomAddress()
  const { id, txHash } = await settled(mine, { payer, paymentIdentifier })
  const expected = {
    id,
    txHash,
    payer,
    paymentIdentifier,
    merchantId: mine.merchant.id,
    serviceId: mine.service.id,
    token: mine.service.token,
    payee: mine.merchant.payee,
    amount: mine.service.price,
    settledAt: expect.any(Date),
  }
  for (const requestId of [paymentIdentifier, id, txHash, `0x${txHash.slice(2).toUpperCase()}`]) {
    expect(await findX402Receipts(database.db, { requestId }), requestId).toEqual([expected])
  }
  expect(await findX402Receipts(database.db, { requestId: id, payee: randomAddress() })).toEqual([])
})

test('what was not paid, or for a server elsewhere, has no receipt', async () => {
  const open = await settling(mine)
  const failed = await settling(mine)
  await closeX402Settlement(database.db, { id: failed.id, outcome: { state: 'failed', reason: 'expired' } })
  const elsewhere = await settled(mine, { origin: 'facilitator', serviceId: null })
  for (const { id } of [open, failed, elsewhere]) {
    expect(await findX402Receipts(database.db, { requestId: id })).toEqual([])
  }
  const { items } = await listX402Receipts(database.db, { limit: 200 })
  for (const { id } of [open, failed, elsewhere]) expect(ids(items)).not.toContain(id)
})

test('a list goes by merchant, service and time, newest first, each once over all pages', async () => {
  const seller = await arrangeMerchant(database.db)
  const made: string[] = []
  for (let index = 0; index < 5; index++) {
    const { id } = await settled(seller)
    made.unshift(id)
    const at = new Date(Date.UTC(2030, 0, 1, 0, index))
    await database.query('update x402_payment set updated_at = $2 where id = $1', [id, at])
  }
  const list = async (more: Parameters<typeof listX402Receipts>[1] = {}) =>
    listX402Receipts(database.db, { merchantId: seller.merchant.id, ...more })
  const first = await list({ limit: 3 })
  const second = await list({ limit: 3, cursor: first.nextCursor })
  expect([...ids(first.items), ...ids(second.items)]).toEqual(made)
  expect(second.nextCursor).toBeUndefined()
  expect(ids((await list({ serviceId: seller.service.id })).items)).toEqual(made)
  expect(ids((await list({ serviceId: mine.service.id })).items)).toEqual([])
  const [from, to] = [new Date(Date.UTC(2030, 0, 1, 0, 1)), new Date(Date.UTC(2030, 0, 1, 0, 3))]
  expect(ids((await list({ from, to })).items)).toEqual([made[2], made[3]])
})
