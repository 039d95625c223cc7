import { randomBytes } from 'node:crypto'
import {
  appendCharges,
  createMerchant,
  type Merchant,
  setControl,
  unfreezeGrant,
  upsertAccountsFromChain,
  upsertGrantsFromChain,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type Address, type GrantTerms, type Hex, payeeRootOf } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import { getAddress, zeroAddress } from 'viem'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createEmbeddedMeter } from '../meter/embedded.ts'
import type { AccountState, Meter, Use } from '../meter/meter.ts'
import { createAccountMirror } from './accountMirror.ts'

const logger = pino({ level: 'silent' })
const token = randomAddress()
let database: TestDatabase
let merchant: Merchant

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  merchant = await createMerchant(database.db, { name: 'Weather Inc', payee: randomAddress() })
})
afterAll(() => database.drop())

test('an account that Postgres does not know is not copied, and not tried again', async () => {
  const mirror = createMirror(createMeter())
  expect(await mirror.mirrorAccount(randomAddress())).toBe(false)
  mirror.markDirty([randomAddress()])
  expect(await mirror.flush(10)).toBe(0)
})

// Whoever copies it first: the next call of the account, or something that changed on the chain.
test.each(['restoreAccount', 'mirrorAccount'] as const)(
  'a meter that lost everything gets the money back by %s, and the ids of requests that were charged',
  async (copy) => {
    const grant = await createGrant()
    const use = useOf(grant)
    const occurredAtMs = Date.now() - 1_000
    const { requestId, fingerprint, amount, cumulativeAmount } = use
    await appendCharges(database.db, [
      {
        ...grant,
        payee: merchant.payee,
        requestId,
        fingerprint,
        amount,
        cumulativeAmount,
        ...journalled,
        occurredAtMs,
      },
    ])
    const meter = createMeter()
    expect(await meter.charge(use)).toMatchObject({ code: 'grant.unknown' })
    expect(await createMirror(meter)[copy](grant.account)).toBe(true)
    expect(await meter.charge(use)).toMatchObject({
      ok: false,
      code: 'request.duplicate',
      channel: { charged: 10_000n },
    })
    expect(await meter.charge(useOf(grant))).toMatchObject({ ok: true, channel: { charged: 20_000n } })
  },
)

test('a copy that is slow never overtakes a newer one, of this process or of another', async () => {
  const grant = await createGrant()
  const inner = createMeter()
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let hasRead = false
  const slow: Meter = {
    ...inner,
    async mirror(state: AccountState) {
      hasRead = true
      await held
      await inner.mirror(state)
    },
  }
  const before = createMirror(slow).mirrorAccount(grant.account)
  await expect.poll(() => hasRead).toBe(true)
  // Now the grant is frozen, and copied by another process.
  await setControl(database.db, { ...control, grantId: grant.grantId, holder: 'operator', state: 'frozen' })
  const after = createMirror(inner).mirrorAccount(grant.account)
  await new Promise((resolve) => setTimeout(resolve, 50))
  release()
  await Promise.all([before, after])
  expect(await inner.charge(useOf(grant))).toMatchObject({ code: 'grant.frozen' })

  await unfreezeGrant(database.db, { grantId: grant.grantId, merchantId: null, holders: ['operator'] })
  await createMirror(inner).mirrorAccount(grant.account)
  expect(await inner.charge(useOf(grant))).toMatchObject({ ok: true })
})

test('many that ask for the same account at once share copies, each at least as new as its question', async () => {
  const grant = await createGrant()
  const inner = createMeter()
  let copies = 0
  const counting: Meter = {
    ...inner,
    async mirror(state: AccountState) {
      copies++
      await inner.mirror(state)
    },
  }
  const mirror = createMirror(counting)
  const answers = await Promise.all(Array.from({ length: 50 }, () => mirror.mirrorAccount(grant.account)))
  expect(answers.every((known) => known)).toBe(true)
  expect(copies).toBe(2)
})

test('flush copies many accounts, a bounded number of them at a time', async () => {
  const meter = createMeter()
  const mirror = createMirror(meter)
  const grants = await Promise.all(Array.from({ length: 12 }, createGrant))
  mirror.markDirty(grants.map(({ account }) => account))
  expect(await mirror.flush(5)).toBe(7)
  expect(await mirror.flush(100)).toBe(0)
  for (const grant of grants) expect(await meter.charge(useOf(grant))).toMatchObject({ ok: true })
})

const journalled = {
  eventId: '1-1',
  get merchantId() {
    return merchant.id
  },
  serviceId: 'svc_1',
  signature: randomHex(65),
}
const control = { merchantId: null, reason: 'test', actor: 'test' }

type TestGrant = { grantId: Hex; account: Address }

async function createGrant(): Promise<TestGrant> {
  const nowSeconds = Math.floor(Date.now() / 1000)
  const account = randomAddress()
  const grantId = randomHex(32)
  const terms: GrantTerms = {
    sessionKey: randomAddress(),
    settler: randomAddress(),
    token,
    totalLimit: 100_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: nowSeconds - 60,
    validUntil: nowSeconds + 86_400,
    payeeRoot: payeeRootOf([merchant.payee]),
    source: 'allowance',
    salt: randomHex(24),
  }
  const state = { status: 'active', settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 1n } as const
  await upsertGrantsFromChain(database.db, [{ grantId, account, epoch: 0n, terms, ...state }])
  const funds = { balance: 50_000_000n, allowance: 100_000_000n, accountFrozen: false, guardian: zeroAddress }
  await upsertAccountsFromChain(database.db, [{ account, token, ...funds, epoch: 0n, blockNumber: 1n }])
  return { grantId, account }
}

function useOf({ grantId, account }: TestGrant): Use {
  return {
    account,
    grantId,
    payee: merchant.payee,
    amount: 10_000n,
    cumulativeAmount: 1_000_000n,
    requestId: randomHex(16),
    fingerprint: 'f',
    nowMs: Date.now(),
    settlementMarginSeconds: 600,
    event: { service: 'svc_1', merchant: merchant.id, signature: randomHex(65) },
  }
}

function createMeter(): Meter {
  return createEmbeddedMeter({ clock: Date.now, instance: 'gateway-1' })
}

function createMirror(meter: Meter) {
  return createAccountMirror({ db: database.db, meter, token, clock: Date.now, logger })
}

function randomAddress(): Address {
  return getAddress(randomHex(20))
}

function randomHex(size: number): Hex {
  return `0x${randomBytes(size).toString('hex')}`
}
