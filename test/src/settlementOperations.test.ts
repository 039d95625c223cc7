import { sponsoredUntil } from '@protocolbanks/stream-bundler-client'
import { getSettlement, listTransitions, type Settlement, type SettlementState } from '@protocolbanks/stream-db'
import { devAccounts, type Service, startBundler } from '@protocolbanks/stream-dev'
import type { Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { createTestClient, createWalletClient, hexToBigInt, http, parseEther, parseGwei } from 'viem'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import {
  arrangeGrant,
  balanceOf,
  charge,
  createSeller,
  mirrorGrant,
  type Seller,
  settlementsOf,
} from './testing/owedMoney.ts'
import { grantBudget, type SponsoredChain, startSponsoredChain } from './testing/sponsoredChain.ts'
import { startSettler } from './testing/startSettler.ts'

// What becomes of UserOperations that do not simply go through, with a real bundler on a chain that is stopped, made dear
// and reorganised.

let sponsored: SponsoredChain
beforeAll(async () => {
  sponsored = await startSponsoredChain(inject('postgresUrl'))
}, 240_000)
afterAll(() => sponsored?.stop(), 240_000)

const workers: Service[] = []
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop()
  await node().setAutomine(true)
  // What a test leaves open is nothing to the next.
  await sponsored.database.query(
    `update settlement set state = 'dead', failure_reason = 'internal', written_off_at = now()
     where state not in ('confirmed', 'dead')`,
  )
  await sponsored.database.query(`update "grant" set status = 'revoked'`)
}, 120_000)

const timeout = 600_000
const soon = { timeout: 180_000, interval: 100 }

test('an operation that the bundler lost with its memory is sent again as it was', { timeout }, async () => {
  const { seller, one } = await arrange()
  await node().setAutomine(false)
  await startWorker()
  await charge(sponsored, one, [[seller, 10_000_000n]])
  const sent = await settled(one, 'submitted')
  await restartBundlerEmpty()
  const settlement = await settled(one, 'confirmed')
  expect(settlement).toMatchObject({ userOpHash: sent.userOpHash, earlierUserOpHashes: [], attempts: 0 })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
  expect(await statesOf(settlement)).toEqual(['pending', 'intended', 'submitted', 'included', 'confirmed'])
})

test('one whose sponsorship has ended meanwhile is built again under the same nonce', { timeout }, async () => {
  const { seller, one } = await arrange()
  await node().setAutomine(false)
  const worker = await startWorker()
  await charge(sponsored, one, [[seller, 10_000_000n]])
  const sent = await settled(one, 'submitted')
  worker.process.signal('SIGKILL')
  await worker.process.exited
  const { userOperation } = sent as { userOperation: { paymasterData: Hex; nonce: Hex } }
  expect(sponsoredUntil(userOperation)).toBeGreaterThan(Date.now() / 1_000)
  // As if ten minutes had passed: the row says what the paymaster signed then.
  await sponsored.database.query(
    `update settlement set lease_until = now(), user_operation = jsonb_set(user_operation, '{paymasterData}', to_jsonb($2::text))
     where id = $1`,
    [sent.id, `0x000000000001${userOperation.paymasterData.slice(14)}`],
  )
  await restartBundlerEmpty()
  await startWorker()
  const settlement = await settled(one, 'confirmed')
  expect(settlement).toMatchObject({ earlierUserOpHashes: [sent.userOpHash], attempts: 0 })
  expect((settlement.userOperation as { nonce: Hex }).nonce).toBe(userOperation.nonce)
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
})

test('one that the chain has become too dear for is replaced under the same nonce with higher fees', {
  timeout,
}, async () => {
  const { seller, one } = await arrange()
  await node().setAutomine(false)
  await startWorker({ STUCK_MS: '1500' })
  await charge(sponsored, one, [[seller, 10_000_000n]])
  const sent = await settled(one, 'submitted')
  const first = sent.userOperation as Operation
  await node().dropTransactions()
  await node().setNextBlockBaseFeePerGas({ baseFeePerGas: parseGwei('30') })
  await node().mine({ blocks: 1 })
  const isReplaced = async () => (await newest(one)).earlierUserOpHashes.length
  await expect.poll(isReplaced, soon).toBeGreaterThan(sent.earlierUserOpHashes.length)
  await node().setAutomine(true)
  await mineUntil(async () => (await newest(one)).state === 'confirmed')
  const settlement = await newest(one)
  expect(settlement.attempts).toBe(0)
  const last = settlement.userOperation as Operation
  expect(last.nonce).toBe(first.nonce)
  const atLeast = (fee: Hex) => (hexToBigInt(fee) * 9n) / 8n
  expect(hexToBigInt(last.maxFeePerGas)).toBeGreaterThanOrEqual(atLeast(first.maxFeePerGas))
  expect(hexToBigInt(last.maxPriorityFeePerGas)).toBeGreaterThanOrEqual(atLeast(first.maxPriorityFeePerGas))
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
})

test('an outcome counts when its block is deep enough, and what is taken back before is sent again', {
  timeout,
}, async () => {
  const { seller, one } = await arrange()
  await startWorker({ CONFIRMATIONS: '3' })
  await charge(sponsored, one, [[seller, 10_000_000n]])
  const included = await settled(one, 'included')
  expect(included).toMatchObject({ txHash: expect.any(String), blockNumber: expect.any(BigInt) })
  await node().mine({ blocks: 1 })
  await sponsored.clients.publicClient.request({ method: 'anvil_reorg' as never, params: [2, []] as never })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(0n)
  await mineUntil(async () => (await newest(one)).state === 'confirmed')
  const settlement = await newest(one)
  expect(settlement).toMatchObject({ userOpHash: included.userOpHash, attempts: 0 })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
  expect(await statesOf(settlement)).toEqual(
    expect.arrayContaining(['pending', 'intended', 'submitted', 'included', 'confirmed']),
  )
})

test("a stuck operation keeps the account's other grant out only for a while, which then goes in a lane of its own", {
  timeout,
}, async () => {
  const { seller, one } = await arrange()
  const second = await grantBudget(sponsored, one.person, { payees: [seller.merchant.payee] })
  await mirrorGrant(sponsored, second, one.account, [seller])
  const other = { grant: second, account: one.account }
  await node().setAutomine(false)
  // Nothing is replaced: the fee limit is what the first operation has.
  await startWorker({ STUCK_MS: '6000' })
  await charge(sponsored, one, [[seller, 10_000_000n]])
  const stuck = await settled(one, 'submitted')
  await charge(sponsored, other, [[seller, 20_000_000n]])
  await expect.poll(async () => (await settlementsOf(sponsored, second))[0]?.lane, soon).toBe(1)
  const [beside] = await settlementsOf(sponsored, second)
  const waitedMs = (beside?.createdAt.getTime() ?? 0) - stuck.laneSince.getTime()
  expect(waitedMs).toBeGreaterThanOrEqual(6_000)
  await node().setAutomine(true)
  await mineUntil(async () => (await newest(one)).state === 'confirmed' && (await newest(other)).state === 'confirmed')
  expect([(await newest(one)).lane, (await newest(other)).lane]).toEqual([0, 1])
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(30_000_000n)
})

test('without a deposit of the paymaster it waits, counts no attempt, and is settled when there is one', {
  timeout,
}, async () => {
  const { seller, one } = await arrange()
  const address = sponsored.contracts.sponsorPaymaster
  const { publicClient, walletClient } = sponsored.clients
  const paymaster = { address, abi: sponsorPaymasterAbi } as const
  const wait = (hash: Hex) => publicClient.waitForTransactionReceipt({ hash })
  const deposited = await publicClient.readContract({
    address: sponsored.entryPoint,
    abi: entryPointAbi,
    functionName: 'balanceOf',
    args: [address],
  })
  const to = devAccounts.operator.address
  await wait(await walletClient.writeContract({ ...paymaster, functionName: 'withdrawTo', args: [to, deposited] }))
  try {
    await startWorker()
    await charge(sponsored, one, [[seller, 10_000_000n]])
    const waiting = await settled(one, 'failed')
    expect(waiting).toMatchObject({ failureReason: 'paymaster_deposit', attempts: 0 })
    expect(waiting.waits).toBeGreaterThanOrEqual(1)
  } finally {
    await wait(await walletClient.writeContract({ ...paymaster, functionName: 'deposit', value: parseEther('100') }))
  }
  const { id } = await newest(one)
  await sponsored.database.query('update settlement set next_attempt_at = now() where id = $1', [id])
  expect(await settled(one, 'confirmed')).toMatchObject({ attempts: 0 })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
})

test('a payee whom the token blocks stops nobody else, costs no gas, and is paid once the token pays again', {
  timeout,
}, async () => {
  const [seller, blocked] = [await createSeller(sponsored), await createSeller(sponsored)]
  const one = await arrangeGrant(sponsored, [seller, blocked])
  const alone = await arrangeGrant(sponsored, [blocked])
  await setBlocked(blocked, true)
  await startWorker()
  await charge(sponsored, one, [
    [seller, 10_000_000n],
    [blocked, 6_000_000n],
  ])
  const { id } = await settled(one, 'confirmed')
  const { items = [] } = (await getSettlement(sponsored.database.db, id)) ?? {}
  expect(new Map(items.map(({ payee, skippedReason }) => [payee, skippedReason]))).toEqual(
    new Map([
      [seller.merchant.payee, null],
      [blocked.merchant.payee, 'claim.payee_blocked'],
    ]),
  )
  // Another account's debt to them is not even begun.
  await charge(sponsored, alone, [[blocked, 10_000_000n]])
  const { query } = sponsored.database
  await expect.poll(() => query('select blocked from payee_block'), soon).toEqual([{ blocked: true }])
  expect(await settlementsOf(sponsored, alone.grant)).toEqual([])

  await setBlocked(blocked, false)
  await query('update payee_block set next_check_at = now()')
  await settled(alone, 'confirmed')
  expect(await balanceOf(sponsored, blocked.merchant.payee)).toBe(10_000_000n)
  await expect.poll(() => query('select blocked from payee_block'), soon).toEqual([{ blocked: false }])
})

test('three workers settle sixty grants, each once, though one of them is killed', { timeout: 1_200_000 }, async () => {
  const seller = await createSeller(sponsored)
  const grants = []
  for (let batch = 0; batch < 15; batch++) {
    grants.push(...(await Promise.all(Array.from({ length: 4 }, () => arrangeGrant(sponsored, [seller])))))
  }
  const [victim] = await Promise.all([startWorker(), startWorker(), startWorker()])
  await Promise.all(grants.map((one) => charge(sponsored, one, [[seller, 10_000_000n]])))
  const count = async (state: string) =>
    Number(
      (
        await sponsored.database.query<{ count: string }>('select count(*) from settlement where state = $1', [state])
      )[0]?.count,
    )
  const before = await count('confirmed')
  await expect.poll(() => count('submitted'), soon).toBeGreaterThan(0)
  victim.process.signal('SIGKILL')
  await victim.process.exited
  await expect.poll(() => count('confirmed'), { timeout: 480_000, interval: 500 }).toBeGreaterThanOrEqual(before + 60)
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(600_000_000n)
  for (const { grant } of grants) {
    const settlements = await settlementsOf(sponsored, grant)
    expect(settlements).toMatchObject([{ state: 'confirmed' }])
  }
})

type Operation = { nonce: Hex; maxFeePerGas: Hex; maxPriorityFeePerGas: Hex }
type Arranged = Pick<Awaited<ReturnType<typeof arrangeGrant>>, 'grant' | 'account'>

async function arrange() {
  const seller = await createSeller(sponsored)
  return { seller, one: await arrangeGrant(sponsored, [seller]) }
}

function node() {
  const client = createTestClient({ mode: 'anvil', chain: sponsored.chain, transport: http(sponsored.anvil.url) })
  return Object.assign(client, {
    dropTransactions: () => client.request({ method: 'anvil_dropAllTransactions' as never }),
  })
}

/** What a bundler that keeps nothing on disk forgets, and what its node does. */
async function restartBundlerEmpty(): Promise<void> {
  const { bundler, anvil, entryPoint } = sponsored
  await bundler.stop()
  await node().dropTransactions()
  await node().setAutomine(true)
  const port = Number(new URL(bundler.url).port)
  sponsored.bundler = await startBundler({ rpcUrl: anvil.url, entryPoint, port })
}

async function startWorker(change: Record<string, string> = {}): Promise<Service> {
  // What waits is replaced where a test says so, and not where a bundler starts slowly.
  const worker = await startSettler(sponsored, { STUCK_MS: '600000', ...change })
  workers.push(worker)
  return worker
}

async function newest({ grant }: Arranged): Promise<Settlement> {
  const [settlement] = await settlementsOf(sponsored, grant)
  if (!settlement) throw new Error('There is no settlement.')
  return settlement
}

/** The newest settlement as it was when it was in this state: the next look may move it on. */
async function settled(one: Arranged, state: SettlementState): Promise<Settlement> {
  let settlement: Settlement | undefined
  const read = async () => {
    ;[settlement] = await settlementsOf(sponsored, one.grant)
    return settlement?.state
  }
  await expect.poll(read, soon).toBe(state)
  if (!settlement) throw new Error('There is no settlement.')
  return settlement
}

/** The states it was in, without repetitions. */
async function statesOf({ id }: Settlement): Promise<SettlementState[]> {
  return [...new Set((await listTransitions(sponsored.database.db, id)).map(({ to }) => to))]
}

/** Blocks until it is so. */
async function mineUntil(isSo: () => Promise<boolean>): Promise<void> {
  const mineAndLook = async () => {
    await node().mine({ blocks: 1 })
    return isSo()
  }
  await expect.poll(mineAndLook, { timeout: 180_000, interval: 300 }).toBe(true)
}

async function setBlocked({ merchant }: Seller, isBlocked: boolean): Promise<void> {
  const { clients, contracts, chain, anvil } = sponsored
  const wallet = createWalletClient({ account: devAccounts.owner.account, chain, transport: http(anvil.url) })
  const args = [merchant.payee, isBlocked] as const
  const hash = await wallet.writeContract({
    abi: testUsdcAbi,
    address: contracts.testUsdc,
    functionName: 'setBlocked',
    args,
  })
  await clients.publicClient.waitForTransactionReceipt({ hash })
}
