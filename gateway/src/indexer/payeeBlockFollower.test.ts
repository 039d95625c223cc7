import { createMerchant, ensureChannel, recordPayeeAnswers, upsertGrantsFromChain } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type Address, grantIdOf, payeeRootOf } from '@protocolbanks/stream-protocol'
import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createPayeeBlockFollower } from './payeeBlockFollower.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const usdc = getAddress('0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913')
const someAddress = () => privateKeyToAddress(generatePrivateKey())

/** An account with a grant to this merchant. */
async function arrangeAccount(
  { id, payee }: { id: string; payee: Address },
  status: 'active' | 'revoked' = 'active',
): Promise<Address> {
  const account = someAddress()
  const terms = {
    sessionKey: someAddress(),
    settler: someAddress(),
    token: usdc,
    totalLimit: 1n,
    periodLimit: 0n,
    period: 0,
    validAfter: 0,
    validUntil: 4_000_000_000,
    payeeRoot: payeeRootOf([payee]),
    source: 'allowance',
    salt: `0x${'00'.repeat(24)}`,
  } as const
  const grantId = grantIdOf({ chainId: 1, module: usdc, account, epoch: 0n }, terms)
  const state = { status, settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 1n }
  await upsertGrantsFromChain(database.db, [{ grantId, account, epoch: 0n, terms, ...state }])
  await ensureChannel(database.db, { grantId, payee, merchantId: id, payeeProof: [] })
  return account
}

test('accounts of a payee are copied once for each time that the token stops or starts paying them', async () => {
  const { db } = database
  const [seller, other] = [
    await createMerchant(db, { name: 'one', payee: someAddress() }),
    await createMerchant(db, { name: 'other', payee: someAddress() }),
  ]
  const expected = [await arrangeAccount(seller), await arrangeAccount(seller)].toSorted()
  await arrangeAccount(other)
  const ended = await arrangeAccount(seller, 'revoked')
  let now = Date.now()
  const marked: Address[] = []
  const mirror = { markDirty: (accounts: Iterable<Address>) => marked.push(...accounts) }
  const follower = createPayeeBlockFollower({ db, token: usdc, clock: () => now, mirror })
  const answer = (blocked: boolean) =>
    recordPayeeAnswers(db, [{ token: usdc, payee: seller.payee, blocked }], new Date(now))

  await answer(false)
  expect(await follower.follow()).toBe(0)
  await answer(true)
  expect(await follower.follow()).toBe(1)
  expect(marked.toSorted()).toEqual(expected)
  expect(marked).not.toContain(ended)
  now += 1_000
  await answer(true)
  expect(await follower.follow()).toBe(0)
  now += 1_000
  await answer(false)
  expect(await follower.follow()).toBe(1)
  expect(marked).toHaveLength(4)
  now += 3_600_000
  expect(await follower.follow()).toBe(0)
})
