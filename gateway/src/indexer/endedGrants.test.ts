import { randomBytes } from 'node:crypto'
import { upsertGrantsFromChain } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type Address, type GrantTerms, type Hex, payeeRootOf } from '@protocolbanks/stream-protocol'
import { getAddress } from 'viem'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createEndedGrants } from './endedGrants.ts'

const token = randomAddress()
const [minute, hour, day] = [60_000, 3_600_000, 86_400_000]
let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

test('each account of which a grant has ended is copied once more, if the meter still holds it', async () => {
  let nowMs = Date.now()
  const [ended, left, live, old] = [
    await createGrant({ validUntil: nowMs - 2 * hour }),
    await createGrant({ validUntil: nowMs - 2 * hour }),
    await createGrant({ validUntil: nowMs + day }),
    await createGrant({ validUntil: nowMs - 3 * day }),
  ]
  await createGrant({ validUntil: nowMs - 2 * hour, token: randomAddress() })
  const later = await createGrant({ validUntil: nowMs - 30 * minute })
  const revoked = await createGrant({ validUntil: nowMs + 10 * day, status: 'revoked' })

  const copied: Address[] = []
  const held = new Set([ended, live, old, later, revoked])
  const endedGrants = createEndedGrants({
    db: database.db,
    token,
    clock: () => nowMs,
    meter: { holds: async (account) => held.has(account) },
    mirror: { markDirty: (accounts) => void copied.push(...accounts) },
  })
  await endedGrants.follow()
  expect(copied.splice(0)).toEqual([ended])
  expect(left).toBeDefined()

  // Not before it is time, and then what has ended since.
  nowMs += 5 * minute
  await endedGrants.follow()
  expect(copied).toEqual([])
  nowMs += 2 * hour
  await endedGrants.follow()
  expect(copied.splice(0).sort()).toEqual([later, revoked].sort())
  nowMs += 2 * hour
  await endedGrants.follow()
  expect(copied).toEqual([])
})

test('accounts that end together come in pages', async () => {
  const nowMs = Date.now() + 100 * day
  const accounts = []
  for (let count = 0; count < 5; count += 1) accounts.push(await createGrant({ validUntil: nowMs - 2 * hour }))
  const copied: Address[] = []
  const endedGrants = createEndedGrants({
    db: database.db,
    token,
    clock: () => nowMs,
    accountsPerPage: 2,
    meter: { holds: async () => true },
    mirror: { markDirty: (some) => void copied.push(...some) },
  })
  await endedGrants.follow()
  expect(copied.sort()).toEqual(accounts.sort())
})

type GrantChanges = { validUntil: number; token?: Address; status?: 'active' | 'revoked' }

async function createGrant({ validUntil, status = 'active', ...changes }: GrantChanges): Promise<Address> {
  const account = randomAddress()
  const terms: GrantTerms = {
    sessionKey: randomAddress(),
    settler: randomAddress(),
    token,
    totalLimit: 1_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: 1_000,
    validUntil: Math.floor(validUntil / 1_000),
    payeeRoot: payeeRootOf([randomAddress()]),
    source: 'allowance',
    salt: randomHex(24),
    ...changes,
  }
  const state = { status, settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 1n }
  await upsertGrantsFromChain(database.db, [{ grantId: randomHex(32), account, epoch: 0n, terms, ...state }])
  return account
}

function randomAddress(): Address {
  return getAddress(randomHex(20))
}

function randomHex(bytes: number): Hex {
  return `0x${randomBytes(bytes).toString('hex')}`
}
