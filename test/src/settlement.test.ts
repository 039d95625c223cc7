import { readFile } from 'node:fs/promises'
import { readOperationLogs, unfreezeCall } from '@protocolbanks/stream-bundler-client'
import {
  getSettlement,
  listSettlements,
  requestSettlement,
  type Settlement,
  type SettlementState,
} from '@protocolbanks/stream-db'
import { type Service, startBundler } from '@protocolbanks/stream-dev'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import { createCuttable } from './testing/cuttable.ts'
import {
  arrangeGrant,
  asGuardian,
  balanceOf,
  charge,
  createSeller,
  mirrorGrant,
  mirrorSettled,
  settlementsOf,
} from './testing/owedMoney.ts'
import {
  createOwner,
  grantBudget,
  type SponsoredChain,
  startSponsoredChain,
  type TestGrant,
} from './testing/sponsoredChain.ts'
import { startSettler } from './testing/startSettler.ts'

// Settlement as a process of its own, with the paymaster, a bundler and a chain. The journal is written by the tests.

// Processes start slowly where many do at once.
vi.setConfig({ testTimeout: 480_000, hookTimeout: 240_000 })

let sponsored: SponsoredChain
beforeAll(async () => {
  sponsored = await startSponsoredChain(inject('postgresUrl'))
})
afterAll(() => sponsored?.stop())

const workers: Service[] = []
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop()
})

test('what is owed is paid to every payee with one operation, and the records show what the chain did', async () => {
  const merchants = await Promise.all([createSeller(sponsored), createSeller(sponsored), createSeller(sponsored)])
  const { grant, account } = await arrangeGrant(sponsored, merchants)
  await charge(sponsored, { grant, account }, [
    [merchants[0], 4_000_000n],
    [merchants[1], 5_000_000n],
    [merchants[2], 3_000_000n],
  ])
  await startWorker()
  const settlement = await settled(grant, 'confirmed')
  expect(await Promise.all(merchants.map(({ merchant }) => balanceOf(sponsored, merchant.payee)))).toEqual([
    4_000_000n,
    5_000_000n,
    3_000_000n,
  ])
  expect(settlement).toMatchObject({ trigger: 'threshold', attempts: 0, errorCode: null, lane: 0 })
  const receipt = await sponsored.clients.publicClient.getTransactionReceipt({ hash: settlement.txHash ?? '0x' })
  const operation = readOperationLogs(receipt.logs, {
    entryPoint: sponsored.entryPoint,
    userOpHash: settlement.userOpHash ?? '0x',
  })
  expect(operation).toMatchObject({ success: true, gasUsed: settlement.gasUsed, gasCostWei: settlement.gasCostWei })
  const { items = [] } = (await getSettlement(sponsored.database.db, settlement.id)) ?? {}
  expect(items.map(({ paid }) => paid).sort()).toEqual([3_000_000n, 4_000_000n, 5_000_000n])

  // Its gas is shared equally by the merchants.
  await expect
    .poll(() => sharesOf(settlement.userOpHash ?? '0x'), { timeout: 120_000 })
    .toEqual([expect.any(BigInt), expect.any(BigInt), expect.any(BigInt)])
  const shares = await sharesOf(settlement.userOpHash ?? '0x')
  expect(shares.reduce((sum, share) => (sum ?? 0n) + (share ?? 0n), 0n)).toBe(settlement.gasCostWei)
})

test('a voucher whose v was flipped is paid, and one that the key never signed is left out without stopping the others', async () => {
  const merchants = await Promise.all([createSeller(sponsored), createSeller(sponsored)])
  const { grant, account } = await arrangeGrant(sponsored, merchants)
  await charge(sponsored, { grant, account }, [[merchants[0], 6_000_000n]], { change: flipV })
  await charge(sponsored, { grant, account }, [[merchants[1], 6_000_000n]], { change: spoil })
  await startWorker()
  const settlement = await settled(grant, 'confirmed')
  expect(await balanceOf(sponsored, merchants[0].merchant.payee)).toBe(6_000_000n)
  expect(await balanceOf(sponsored, merchants[1].merchant.payee)).toBe(0n)
  const { items = [] } = (await getSettlement(sponsored.database.db, settlement.id)) ?? {}
  expect(items.map(({ skippedReason }) => skippedReason).sort()).toEqual([null, 'voucher.signature'].sort())
})

test('a grant none of whose vouchers can be paid ends as a dead letter that says why', async () => {
  const seller = await createSeller(sponsored)
  const { grant, account } = await arrangeGrant(sponsored, [seller])
  await charge(sponsored, { grant, account }, [[seller, 11_000_000n]], { change: spoil })
  await startWorker()
  const settlement = await settled(grant, 'dead')
  expect(settlement).toMatchObject({ errorCode: 'voucher.signature', userOpHash: null })
  expect(settlement.errorMessage).toContain(seller.merchant.payee)
})

test('killed at any moment and started again, it pays once', async () => {
  const sellers = await Promise.all(Array.from({ length: 6 }, () => createSeller(sponsored)))
  const grants = await Promise.all(sellers.map((seller) => arrangeGrant(sponsored, [seller])))
  for (const [index, { grant, account }] of grants.entries()) {
    const seller = sellers[index]
    if (seller) await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
  }
  // Each run dies a little later than the one before: before the claim, after it, after the send, while waiting.
  for (const livedMs of [50, 150, 250, 350, 500]) {
    const worker = await startWorker()
    await new Promise((resolve) => setTimeout(resolve, livedMs))
    worker.process.signal('SIGKILL')
    await worker.process.exited
    // A crashed worker's leases run out; nobody waits half a minute for that here.
    await sponsored.database.query('update settlement set lease_until = now() where lease_until is not null')
  }
  await startWorker()
  for (const { grant } of grants) await settled(grant, 'confirmed')
  for (const { merchant } of sellers) expect(await balanceOf(sponsored, merchant.payee)).toBe(10_000_000n)
  for (const { grant } of grants) {
    const { items } = await listSettlements(sponsored.database.db, { grantId: grant.grantId })
    expect(items).toHaveLength(1)
    const { items: claims = [] } = (await getSettlement(sponsored.database.db, items[0]?.id ?? '')) ?? {}
    expect(claims.map(({ paid }) => paid)).toEqual([10_000_000n])
  }
}, 600_000)

test('a grant frozen on-chain after it was claimed waits, and is settled when its owner unfreezes it', async () => {
  const seller = await createSeller(sponsored)
  const { grant, account, person } = await arrangeGrant(sponsored, [seller])
  await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
  // The mirror does not know of it yet.
  await asGuardian(sponsored, 'freeze', account, grant.grantId)
  const worker = await startWorker()
  await expect.poll(() => logOf(worker, 'grant.frozen'), { timeout: 120_000 }).toBe(true)
  const newest = async () => (await listSettlements(sponsored.database.db, { grantId: grant.grantId })).items[0]
  // It is looked at again and again, and between two looks it is this.
  await expect
    .poll(newest, { timeout: 120_000 })
    .toMatchObject({ state: 'failed', failureReason: 'grant_frozen', attempts: 0 })
  const open = await newest()
  const module = sponsored.contracts.sessionKeyValidator
  const hash = await person.bundlerClient.sendUserOperation({
    account: person.account,
    calls: [unfreezeCall({ module, grantId: grant.grantId })],
  })
  await person.bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })
  await sponsored.database.query('update settlement set next_attempt_at = now() where id = $1', [open?.id])
  await settled(grant, 'confirmed')
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
})

test('a settlement that a reorganisation closed is confirmed with what it paid when the chain has it after all', async () => {
  const seller = await createSeller(sponsored)
  const { grant, account } = await arrangeGrant(sponsored, [seller])
  await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
  await startWorker()
  const { id, txHash, blockNumber } = await settled(grant, 'confirmed')
  await mirrorSettled(sponsored, grant, seller)
  // What the indexer writes when the block is lost and the grant goes on with another settlement.
  await sponsored.database.query(`update settlement_item set paid = null where settlement_id = $1`, [id])
  await sponsored.database.query(
    `update settlement set state = 'dead', written_off_at = now(), failure_reason = 'reorganised',
       error_code = 'chain.reorganised', tx_hash = null, block_number = null, updated_at = now() where id = $1`,
    [id],
  )
  const read = () => getSettlement(sponsored.database.db, id)
  const expected = { state: 'confirmed', txHash, blockNumber, errorCode: null, writtenOffAt: null }
  await expect.poll(read, { timeout: 120_000 }).toMatchObject(expected)
  const again = await read()
  expect(again?.items.map(({ paid }) => paid)).toEqual([10_000_000n])
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
})

test('a revoked grant is given up at once', async () => {
  const seller = await createSeller(sponsored)
  const { grant, account } = await arrangeGrant(sponsored, [seller])
  await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
  await asGuardian(sponsored, 'revoke', account, grant.grantId)
  await startWorker()
  expect(await settled(grant, 'dead')).toMatchObject({ errorCode: 'grant.revoked' })
})

test('without a bundler it is not ready, loses nothing, and goes on by itself when the bundler is back', async () => {
  const seller = await createSeller(sponsored)
  const { grant, account } = await arrangeGrant(sponsored, [seller])
  const worker = await startWorker()
  const stopped = sponsored.bundler
  const port = Number(new URL(stopped.url).port)
  await stopped.stop()
  await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
  await expect
    .poll(() => readiness(worker), { timeout: 120_000 })
    .toMatchObject({ status: 503, bundler: expect.not.stringMatching(/^ok$/) })
  await expect.poll(() => stateOf(grant), { timeout: 120_000 }).toBe('pending')
  sponsored.bundler = await startBundler({ rpcUrl: sponsored.anvil.url, entryPoint: sponsored.entryPoint, port })
  const settlement = await settled(grant, 'confirmed')
  expect(settlement.attempts).toBe(0)
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
  await expect.poll(() => readiness(worker), { timeout: 120_000 }).toMatchObject({ status: 200 })
}, 600_000)

test.each(['DATABASE_URL', 'RPC_URL', 'PAYMASTER_URL'])(
  'while %s leads nowhere it loses nothing, and goes on by itself afterwards',
  async (name) => {
    const seller = await createSeller(sponsored)
    const { grant, account } = await arrangeGrant(sponsored, [seller])
    const way = await createCuttable({ ...sponsored.env, PAYMASTER_URL: sponsored.paymaster.url }[name] ?? '')
    try {
      const worker = await startWorker({ [name]: way.url })
      await way.cut()
      await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
      // The paymaster is asked only when there is something to sponsor.
      const status = name === 'PAYMASTER_URL' ? 200 : 503
      await expect.poll(() => readiness(worker), { timeout: 120_000 }).toMatchObject({ status })
      if (name === 'PAYMASTER_URL')
        await expect.poll(() => logOf(worker, 'sponsor.unavailable'), { timeout: 120_000 }).toBe(true)
      await way.mend()
      expect((await settled(grant, 'confirmed')).attempts).toBe(0)
      expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
      await expect.poll(() => readiness(worker), { timeout: 120_000 }).toMatchObject({ status: 200 })
      worker.process.signal('SIGTERM')
      expect(await worker.process.exited).toEqual({ code: 0, signal: null })
    } finally {
      await way.close()
    }
  },
)

test('two workers share the work: each grant is settled once, accounts side by side, one after the other within one', async () => {
  const seller = await createSeller(sponsored)
  const people = await Promise.all(Array.from({ length: 3 }, () => createOwner(sponsored)))
  const grants: { grant: TestGrant; account: Address }[] = []
  for (const person of people) {
    for (let count = 0; count < 2; count++) {
      const grant = await grantBudget(sponsored, person, { payees: [seller.merchant.payee] })
      await mirrorGrant(sponsored, grant, person.account.address, [seller])
      grants.push({ grant, account: person.account.address })
    }
  }
  for (const { grant, account } of grants) await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
  await Promise.all([startWorker(), startWorker()])
  for (const { grant } of grants) expect((await settled(grant, 'confirmed')).attempts).toBe(0)
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(60_000_000n)
}, 600_000)

test('a request settles below the threshold, and a stop drains with exit code 0', async () => {
  const seller = await createSeller(sponsored)
  const { grant, account } = await arrangeGrant(sponsored, [seller])
  await charge(sponsored, { grant, account }, [[seller, 5n]])
  const worker = await startWorker()
  await requestSettlement(sponsored.database.db, { grantId: grant.grantId, merchantId: null, actor: 'test' })
  expect(await settled(grant, 'confirmed')).toMatchObject({ trigger: 'request' })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(5n)
  worker.process.signal('SIGTERM')
  expect(await worker.process.exited).toEqual({ code: 0, signal: null })
})

test('later settlements of a grant pay the difference only, in the same lane', async () => {
  const seller = await createSeller(sponsored)
  const { grant, account } = await arrangeGrant(sponsored, [seller])
  await startWorker()
  await charge(sponsored, { grant, account }, [[seller, 10_000_000n]])
  const first = await settled(grant, 'confirmed')
  await mirrorSettled(sponsored, grant, seller)
  await charge(sponsored, { grant, account }, [[seller, 12_000_000n]], { before: 10_000_000n })
  await expect
    .poll(async () => (await settlementsOf(sponsored, grant)).filter(({ state }) => state === 'confirmed').length, {
      timeout: 120_000,
    })
    .toBe(2)
  const second = (await settlementsOf(sponsored, grant)).find(({ id }) => id !== first.id)
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(22_000_000n)
  // The second found its lane, its payee's balance and its grant's slot in use: measured for the architecture's figures.
  expect(second?.gasUsed).toBeLessThan(first.gasUsed ?? 0n)
})

async function startWorker(change: Record<string, string> = {}): Promise<Service> {
  const worker = await startSettler(sponsored, change)
  workers.push(worker)
  return worker
}

async function stateOf(grant: TestGrant): Promise<SettlementState | undefined> {
  return (await settlementsOf(sponsored, grant))[0]?.state
}

/** The grant's newest settlement as it was when it was in this state: the next look may move it on. */
async function settled(grant: TestGrant, state: SettlementState): Promise<Settlement> {
  let settlement: Settlement | undefined
  const read = async () => {
    ;[settlement] = await settlementsOf(sponsored, grant)
    return settlement?.state
  }
  await expect.poll(read, { timeout: 120_000, interval: 50 }).toBe(state)
  if (!settlement) throw new Error('There is no settlement.')
  return settlement
}

async function sharesOf(userOpHash: Hex): Promise<(bigint | null)[]> {
  const rows = await sponsored.database.query<{ cost: string | null }>(
    'select actual_cost_wei::text as cost from sponsorship_share where user_op_hash = $1',
    [userOpHash],
  )
  return rows.map(({ cost }) => (cost === null ? null : BigInt(cost)))
}

async function readiness(worker: Service): Promise<Record<string, unknown>> {
  const answer = await fetch(`${worker.url}/ready`)
  const { checks } = (await answer.json()) as { checks: Record<string, string> }
  return { status: answer.status, ...checks }
}

async function logOf(worker: Service, words: string): Promise<boolean> {
  return (await readFile(worker.process.logFile, 'utf8')).includes(words)
}

function flipV(signature: Hex): Hex {
  return `${signature.slice(0, -2)}${signature.endsWith('1b') ? '1c' : '1b'}` as Hex
}

function spoil(signature: Hex): Hex {
  return `${signature.slice(0, 10)}ff${signature.slice(12)}` as Hex
}
