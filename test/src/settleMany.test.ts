import { type Call, decodeSettleMany, encodeSettleMany, unfreezeCall } from '@protocolbanks/stream-bundler-client'
import {
  deleteAbove,
  getSettlement,
  listTransactions,
  type Settlement,
  type SettlementState,
  type SettlementTransaction,
} from '@protocolbanks/stream-db'
import { devAccounts, type Service, startService } from '@protocolbanks/stream-dev'
import { createVoucherHasher, type Hex, payeeProofOf, signVoucher } from '@protocolbanks/stream-protocol'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { createTestClient, createWalletClient, encodeFunctionData, erc20Abi, http, parseEther, parseGwei } from 'viem'
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import {
  arrangeGrant,
  asGuardian,
  balanceOf,
  charge,
  createSeller,
  mirrorSettled,
  type Seller,
  settlementsOf,
} from './testing/owedMoney.ts'
import { createRpcProxy, type RpcProxy } from './testing/rpcProxy.ts'
import { grantBudget, type SponsoredChain, startSponsoredChain, type TestOwner } from './testing/sponsoredChain.ts'

// Settlement by transactions of a key of its own, as a process, on a chain that is stopped, reorganised and made dear.
// Owners set their grants up through bundler and paymaster; the worker knows neither.

// Processes start slowly where many do at once.
vi.setConfig({ testTimeout: 480_000, hookTimeout: 240_000 })

let sponsored: SponsoredChain
beforeAll(async () => {
  sponsored = await startSponsoredChain(inject('postgresUrl'))
})
afterAll(() => sponsored?.stop())

const workers: Service[] = []
const proxies: RpcProxy[] = []
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.close()
  for (const worker of workers.splice(0)) await worker.stop()
  await node().setAutomine(true)
  // What a test leaves open is nothing to the next.
  const { query } = sponsored.database
  await query(
    `update settlement set state = 'dead', failure_reason = 'internal', written_off_at = now() where state not in ('confirmed', 'dead')`,
  )
  await query(`update "grant" set status = 'revoked'`)
})

test('ten accounts are settled by one transaction, and what stops three of them stops nobody else', async () => {
  const [seller, other, blocked] = [
    await createSeller(sponsored),
    await createSeller(sponsored),
    await createSeller(sponsored),
  ]
  const plain = await arrange(7, [seller, other])
  const [partly, frozen, poor] = [...(await arrange(1, [seller, blocked])), ...(await arrange(2, [seller]))] as [
    Arranged,
    Arranged,
    Arranged,
  ]
  for (const one of plain) {
    await charge(sponsored, one, [
      [seller, 6_000_000n],
      [other, 5_000_000n],
    ])
  }
  await charge(sponsored, partly, [
    [seller, 6_000_000n],
    [blocked, 5_000_000n],
  ])
  for (const one of [frozen, poor]) await charge(sponsored, one, [[seller, 11_000_000n]])
  // None of this is mirrored yet.
  await setBlocked(blocked)
  await asGuardian(sponsored, 'freeze', frozen.account, frozen.grant.grantId)
  await approve(poor, 0n)

  const sender = await createSender()
  await startWorker(sender)
  for (const one of [...plain, partly]) await settled(one, 'confirmed')
  expect(await settled(poor, 'failed')).toMatchObject({ failureReason: 'allowance_gone', attempts: 0, txHash: null })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(8n * 6_000_000n)
  expect(await balanceOf(sponsored, other.merchant.payee)).toBe(7n * 5_000_000n)
  expect(await itemsOf(plain[0])).toEqual({
    [seller.merchant.payee]: { paid: 6_000_000n, skippedReason: null },
    [other.merchant.payee]: { paid: 5_000_000n, skippedReason: null },
  })
  expect(await itemsOf(partly)).toEqual({
    [seller.merchant.payee]: { paid: 6_000_000n, skippedReason: null },
    [blocked.merchant.payee]: { paid: 0n, skippedReason: 'claim.payee_blocked' },
  })
  expect(await settled(frozen, 'failed')).toMatchObject({ failureReason: 'grant_frozen', attempts: 0, txHash: null })

  const [transaction] = await transactionsOf(sender)
  const receipt = await sponsored.clients.publicClient.getTransactionReceipt({ hash: transaction?.txHash ?? '0x' })
  expect(await transactionsOf(sender)).toMatchObject([{ state: 'confirmed', gasUsed: receipt.gasUsed }])
  const rows = await Promise.all([...plain, partly].map(newest))
  expect(new Set(rows.map(({ txHash, userOpHash }) => `${txHash} ${userOpHash}`)).size).toBe(1)
  expect(rows.reduce((sum, { gasUsed }) => sum + (gasUsed ?? 0n), 0n)).toBe(receipt.gasUsed)

  // The frozen one is settled once its owner says so.
  await unfreeze(frozen)
  const { id } = await newest(frozen)
  await sponsored.database.query('update settlement set next_attempt_at = now() where id = $1', [id])
  expect(await settled(frozen, 'confirmed')).toMatchObject({ attempts: 0 })
})

test('what is frozen between the transaction and its block is skipped there, and waits without a failed attempt', async () => {
  const seller = await createSeller(sponsored)
  const [one, frozen] = (await arrange(2, [seller])) as [Arranged, Arranged]
  for (const each of [one, frozen]) await charge(sponsored, each, [[seller, 10_000_000n]])
  const { proxy } = await startHeld('eth_sendRawTransaction', 'before')
  await asGuardian(sponsored, 'freeze', frozen.account, frozen.grant.grantId)
  proxy.release()
  await settled(one, 'confirmed')
  // It is looked at again and again, and between two looks it is this.
  await expect
    .poll(() => newest(frozen))
    .toMatchObject({ leaseOwner: null, state: 'failed', failureReason: 'grant_frozen', attempts: 0 })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
})

test('a revoked grant and a grant in another token are given up at once, and the rest is paid', async () => {
  const seller = await createSeller(sponsored)
  const [one, revoked] = (await arrange(2, [seller])) as [Arranged, Arranged]
  await asGuardian(sponsored, 'revoke', revoked.account, revoked.grant.grantId)
  for (const each of [one, revoked]) await charge(sponsored, each, [[seller, 10_000_000n]])
  const sender = await createSender()
  await startWorker(sender)
  await settled(one, 'confirmed')
  expect(await settled(revoked, 'dead')).toMatchObject({ errorCode: 'grant.revoked' })

  const [foreign] = (await arrange(1, [seller])) as [Arranged]
  const worker = await startWorker(sender, { TOKEN: sponsored.contracts.sponsorPaymaster })
  await workers[0]?.stop()
  await charge(sponsored, foreign, [[seller, 10_000_000n]])
  expect(await settled(foreign, 'dead')).toMatchObject({ errorCode: 'settlement.other_token' })
  await worker.stop()
})

test('claims of payees that were paid before carry no proof, and pay the difference', async () => {
  const sellers = [await createSeller(sponsored), await createSeller(sponsored), await createSeller(sponsored)]
  const [one] = (await arrange(1, sellers)) as [Arranged]
  const sender = await createSender()
  await startWorker(sender)
  await charge(
    sponsored,
    one,
    sellers.slice(0, 2).map((seller) => [seller, 10_000_000n] as const),
  )
  await settled(one, 'confirmed')
  for (const seller of sellers.slice(0, 2)) await mirrorSettled(sponsored, one.grant, seller)
  await charge(
    sponsored,
    one,
    sellers.slice(0, 2).map((seller) => [seller, 3_000_000n] as const),
    { before: 10_000_000n },
  )
  await charge(
    sponsored,
    one,
    sellers.slice(2).map((seller) => [seller, 6_000_000n] as const),
  )
  await expect.poll(async () => (await settlementsOf(sponsored, one.grant)).length, { timeout: 120_000 }).toBe(2)
  await settled(one, 'confirmed')
  expect(await Promise.all(sellers.map(({ merchant }) => balanceOf(sponsored, merchant.payee)))).toEqual([
    13_000_000n,
    13_000_000n,
    6_000_000n,
  ])
  const claims = await claimsOf(one, (await newest(one)).txHash)
  const proofs = new Map(claims.map(({ payee, proof }) => [payee, proof]))
  expect(sellers.map(({ merchant }) => proofs.get(merchant.payee) === 'known')).toEqual([true, true, false])
})

test('a payee whose earlier payment a reorganisation took back is claimed again with the proof', async () => {
  const sellers = [await createSeller(sponsored), await createSeller(sponsored)]
  const [first] = sellers as [Seller]
  const [one] = (await arrange(1, sellers)) as [Arranged]
  // Its ether is in a block that stays.
  const sender = await createSender()
  await node().mine({ blocks: 1 })
  await collectDirectly(one, first, 4_000_000n)
  await charge(
    sponsored,
    one,
    sellers.map((seller) => [seller, 10_000_000n] as const),
  )
  const { proxy } = await startHeld('eth_sendRawTransaction', 'before', sender)
  await reorganise(1)
  expect(await balanceOf(sponsored, first.merchant.payee)).toBe(0n)
  proxy.release()
  const settlement = await settled(one, 'confirmed')
  for (const { merchant } of sellers) expect(await balanceOf(sponsored, merchant.payee)).toBe(10_000_000n)
  expect(settlement).toMatchObject({ attempts: 1 })
  for (const item of Object.values(await itemsOf(one))) expect(item).toEqual({ paid: 10_000_000n, skippedReason: null })
  const sent = (await transactionsOf(sender)).toReversed()
  const proofs = await Promise.all(
    sent.map(async ({ txHash }) => (await claimsOf(one, txHash)).map(({ proof }) => proof)),
  )
  expect(proofs[0]).toContain('known')
  expect(proofs[1]).not.toContain('known')
})

test.each([
  ['before its transaction is recorded', 'eth_getTransactionCount', 'before'],
  ['between recording and sending', 'eth_sendRawTransaction', 'before'],
  ['between sending and recording that', 'eth_sendRawTransaction', 'after'],
  ['while it reads the outcome', 'eth_getTransactionReceipt', 'before'],
] as const)('killed %s, another goes on and pays once', async (_, method, when) => {
  const seller = await createSeller(sponsored)
  const grants = await arrange(3, [seller])
  for (const one of grants) await charge(sponsored, one, [[seller, 10_000_000n]])
  const { sender, worker, proxy } = await startHeld(method, when)
  worker.process.signal('SIGKILL')
  await worker.process.exited
  proxy.release()
  await expireLeases()
  await startWorker(sender)
  for (const one of grants) expect(await settled(one, 'confirmed')).toMatchObject({ attempts: 0 })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(30_000_000n)
  const { publicClient } = sponsored.clients
  expect(await publicClient.getTransactionCount({ address: sender.address })).toBe(
    (await transactionsOf(sender)).filter(({ state }) => state === 'confirmed').length,
  )
})

test('a transaction that the chain has become too dear for is replaced under the same nonce', async () => {
  const seller = await createSeller(sponsored)
  const grants = await arrange(2, [seller])
  const sender = await createSender()
  await node().setAutomine(false)
  // Both before the worker looks: so they are of one transaction.
  for (const one of grants) await charge(sponsored, one, [[seller, 10_000_000n]])
  await startWorker(sender, { STUCK_MS: '1000' })
  await expect.poll(async () => (await transactionsOf(sender))[0]?.sentAt, { timeout: 120_000 }).toBeInstanceOf(Date)
  const [first] = (await transactionsOf(sender)) as [SettlementTransaction]
  await node().setNextBlockBaseFeePerGas({ baseFeePerGas: parseGwei('50') })
  await node().mine({ blocks: 1 })
  await expect
    .poll(async () => (await transactionsOf(sender))[0]?.hashes.length, { timeout: 120_000 })
    .toBeGreaterThan(1)
  await node().setAutomine(true)
  await mineUntil(() => isConfirmed(grants))
  const [transaction] = (await transactionsOf(sender)) as [SettlementTransaction]
  expect(await transactionsOf(sender)).toHaveLength(1)
  expect(transaction).toMatchObject({ id: first.id, nonce: first.nonce, state: 'confirmed' })
  expect(transaction.hashes).toContain(transaction.txHash)
  expect(transaction.txHash).not.toBe(first.hashes[0])
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(20_000_000n)
  for (const one of grants) expect(await newest(one)).toMatchObject({ attempts: 0 })
})

test('a transaction that the node dropped is sent again as it was', async () => {
  const seller = await createSeller(sponsored)
  const [one] = (await arrange(1, [seller])) as [Arranged]
  const sender = await createSender()
  await node().setAutomine(false)
  await startWorker(sender)
  await charge(sponsored, one, [[seller, 10_000_000n]])
  await expect.poll(async () => (await transactionsOf(sender))[0]?.sentAt, { timeout: 120_000 }).toBeInstanceOf(Date)
  const [{ hashes }] = (await transactionsOf(sender)) as [SettlementTransaction]
  const [hash = '0x'] = hashes
  await node().dropTransaction({ hash })
  await mineUntil(() => isConfirmed([one]))
  expect(await newest(one)).toMatchObject({ txHash: hash, attempts: 0 })
  expect(await transactionsOf(sender)).toMatchObject([{ hashes: [hash], state: 'confirmed' }])
})

test('when somebody else used the key, the nonce is lost and the settlements go into the next transaction', async () => {
  const seller = await createSeller(sponsored)
  const grants = await arrange(2, [seller])
  for (const one of grants) await charge(sponsored, one, [[seller, 10_000_000n]])
  const { sender, proxy } = await startHeld('eth_sendRawTransaction', 'before')
  const wallet = createWalletClient({ account: sender, chain: sponsored.chain, transport: http(sponsored.anvil.url) })
  await wallet.sendTransaction({ to: devAccounts.operator.address, value: 1n })
  proxy.release()
  for (const one of grants) expect(await settled(one, 'confirmed')).toMatchObject({ attempts: 1, errorCode: null })
  const [lost, ...others] = (await transactionsOf(sender)).toReversed()
  expect(lost).toMatchObject({ nonce: 0, state: 'lost' })
  expect(others.map(({ nonce, state }) => `${nonce} ${state}`)).toEqual(
    others.map((_, index) => `${index + 1} confirmed`),
  )
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(20_000_000n)
})

test('an outcome counts when its block is deep enough, and what a reorganisation takes back before is sent again', async () => {
  const seller = await createSeller(sponsored)
  const [one] = (await arrange(1, [seller])) as [Arranged]
  const sender = await createSender()
  await startWorker(sender, { CONFIRMATIONS: '3' })
  await charge(sponsored, one, [[seller, 10_000_000n]])
  await expect.poll(() => balanceOf(sponsored, seller.merchant.payee), { timeout: 120_000 }).toBe(10_000_000n)
  const included = await sponsored.clients.publicClient.getBlockNumber()
  await node().mine({ blocks: 1 })
  await expect.poll(() => newest(one)).toMatchObject({ state: 'included', blockNumber: included })
  // It stays so: a block is missing.
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(await newest(one)).toMatchObject({ state: 'included', blockNumber: included })
  await reorganise(2)
  await expect.poll(() => balanceOf(sponsored, seller.merchant.payee), { timeout: 120_000 }).toBe(10_000_000n)
  await node().mine({ blocks: 2 })
  const { blockNumber } = await settled(one, 'confirmed')
  expect(blockNumber).toBeGreaterThan(included)
  expect(await transactionsOf(sender)).toMatchObject([{ state: 'confirmed', blockNumber }])
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
})

test('a settlement whose block is taken back later is open again, and paid again', async () => {
  const seller = await createSeller(sponsored)
  const [one] = (await arrange(1, [seller])) as [Arranged]
  const sender = await createSender()
  const worker = await startWorker(sender)
  await charge(sponsored, one, [[seller, 10_000_000n]])
  await settled(one, 'confirmed')
  await worker.stop()
  await mirrorSettled(sponsored, one.grant, seller)
  await reorganise(1)
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(0n)
  // What the indexer does when it sees that.
  const head = await sponsored.clients.publicClient.getBlock()
  const block = { number: head.number - 1n, hash: head.parentHash }
  await deleteAbove(sponsored.database.db, { name: 'module', block, checkedAt: new Date() })
  expect(await newest(one)).toMatchObject({ state: 'submitted', errorCode: 'chain.reorganised' })
  await startWorker(sender)
  await settled(one, 'confirmed')
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(10_000_000n)
  expect(Object.values(await itemsOf(one))).toEqual([{ paid: 10_000_000n, skippedReason: null }])
})

test('two workers with one key share the work: one transaction at a time, each grant settled once', async () => {
  const seller = await createSeller(sponsored)
  const grants = await arrange(4, [seller])
  const [first] = grants as [Arranged]
  const second = await grantBudget(sponsored, first.person, { payees: [seller.merchant.payee] })
  const sender = await createSender()
  await Promise.all([
    startWorker(sender, { TRANSACTION_MAX_ACCOUNTS: '2' }),
    startWorker(sender, { TRANSACTION_MAX_ACCOUNTS: '2' }),
  ])
  for (const one of grants) await charge(sponsored, one, [[seller, 10_000_000n]])
  for (const one of grants) expect(await settled(one, 'confirmed')).toMatchObject({ attempts: 0 })
  expect(await balanceOf(sponsored, seller.merchant.payee)).toBe(40_000_000n)
  const transactions = await transactionsOf(sender)
  const nonces = transactions.filter(({ state }) => state === 'confirmed').map(({ nonce }) => nonce)
  expect(nonces).toEqual(nonces.map((_, index) => nonces.length - 1 - index))
  expect(second.grantId).not.toBe(first.grant.grantId)
})

test('a UserOperation that was sent before this route was chosen is found, and not paid for again', async () => {
  const seller = await createSeller(sponsored)
  const [one] = (await arrange(1, [seller])) as [Arranged]
  const proxy = await createProxy()
  const { bundler, paymaster, operatorApiKey } = sponsored
  const before = await startSettlement({
    RPC_URL: proxy.url,
    BUNDLER_URL: bundler.url,
    PAYMASTER_URL: paymaster.url,
    PAYMASTER_API_KEY: operatorApiKey,
    SETTLER_KEY: devAccounts.settler.privateKey,
  })
  proxy.hold('eth_getLogs', 'before')
  await charge(sponsored, one, [[seller, 10_000_000n]])
  await proxy.held()
  await expect.poll(() => balanceOf(sponsored, seller.merchant.payee), { timeout: 120_000 }).toBe(10_000_000n)
  before.process.signal('SIGKILL')
  await before.process.exited
  const sent = await newest(one)
  await expireLeases()
  const sender = await createSender()
  await startWorker(sender)
  expect(await settled(one, 'confirmed')).toMatchObject({ userOpHash: sent.userOpHash, attempts: 0 })
  expect(Object.values(await itemsOf(one))).toEqual([{ paid: 10_000_000n, skippedReason: null }])
  expect(await transactionsOf(sender)).toEqual([])
})

test('without ether for gas it is not ready, and a stop drains with exit code 0', async () => {
  const sender = await createSender()
  const worker = await startWorker(sender)
  await node().setBalance({ address: sender.address, value: 0n })
  const readiness = async () => (await fetch(`${worker.url}/ready`)).json()
  await expect
    .poll(readiness, { timeout: 120_000 })
    .toMatchObject({ checks: { sender: expect.stringContaining(sender.address) } })
  worker.process.signal('SIGTERM')
  expect(await worker.process.exited).toEqual({ code: 0, signal: null })
})

type Arranged = Awaited<ReturnType<typeof arrangeGrant>>

function arrange(count: number, sellers: readonly Seller[]): Promise<Arranged[]> {
  return Promise.all(Array.from({ length: count }, () => arrangeGrant(sponsored, sellers)))
}

function node() {
  return createTestClient({ mode: 'anvil', chain: sponsored.chain, transport: http(sponsored.anvil.url) })
}

type Sender = PrivateKeyAccount & { privateKey: Hex }

/** A key of its own, so that each test begins at nonce 0. */
async function createSender(): Promise<Sender> {
  const privateKey = generatePrivateKey()
  const account = privateKeyToAccount(privateKey)
  await node().setBalance({ address: account.address, value: parseEther('10') })
  return { ...account, privateKey }
}

function startWorker({ privateKey }: { privateKey: Hex }, change: Record<string, string> = {}): Promise<Service> {
  return startSettlement({
    SETTLEMENT_ROUTE: 'transaction',
    TRANSACTION_KEY: privateKey,
    CONFIRMATIONS: '1',
    ...change,
  })
}

async function startSettlement(env: Record<string, string>): Promise<Service> {
  const worker = await startService('settlement', {
    label: `settlement-${workers.length}-${Date.now()}-${generatePrivateKey().slice(2, 8)}`,
    logDirectory: sponsored.logDirectory,
    env: { ...sponsored.env, POLL_MS: '50', RETRY_BASE_MS: '100', ...env },
  })
  workers.push(worker)
  return worker
}

async function createProxy(): Promise<RpcProxy> {
  const proxy = await createRpcProxy(sponsored.anvil.url)
  proxies.push(proxy)
  return proxy
}

/** A worker whose calls of one method are held up on their way, from the first on. */
async function startHeld(method: string, when: 'before' | 'after', given?: Sender) {
  const [sender, proxy] = [given ?? (await createSender()), await createProxy()]
  proxy.hold(method, when)
  const worker = await startWorker(sender, { RPC_URL: proxy.url })
  await proxy.held()
  return { sender, proxy, worker }
}

/** A crashed worker's leases run out; nobody waits half a minute for that here. */
async function expireLeases(): Promise<void> {
  const { query } = sponsored.database
  await query('update settlement set lease_until = now() where lease_until is not null')
  await query('update settlement_transaction set lease_until = now() where lease_until is not null')
}

async function newest({ grant }: Pick<Arranged, 'grant'>): Promise<Settlement> {
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
  await expect.poll(read, { timeout: 120_000, interval: 50 }).toBe(state)
  if (!settlement) throw new Error('There is no settlement.')
  return settlement
}

async function isConfirmed(grants: readonly Arranged[]): Promise<boolean> {
  const states = await Promise.all(grants.map(async ({ grant }) => (await settlementsOf(sponsored, grant))[0]?.state))
  return states.every((state) => state === 'confirmed')
}

/** Blocks until it is so. */
async function mineUntil(isSo: () => Promise<boolean>): Promise<void> {
  const mineAndLook = async () => {
    await node().mine({ blocks: 1 })
    return isSo()
  }
  await expect.poll(mineAndLook, { timeout: 120_000, interval: 200 }).toBe(true)
}

async function itemsOf(one: Pick<Arranged, 'grant'> | undefined) {
  if (!one) throw new Error('There is no grant.')
  const { items = [] } = (await getSettlement(sponsored.database.db, (await newest(one)).id)) ?? {}
  return Object.fromEntries(items.map(({ payee, paid, skippedReason }) => [payee, { paid, skippedReason }]))
}

/** Newest first. */
async function transactionsOf({ address }: PrivateKeyAccount): Promise<SettlementTransaction[]> {
  return (await listTransactions(sponsored.database.db, { sender: address })).items
}

/** What a transaction claims of one account. */
async function claimsOf({ account }: Arranged, txHash: Hex | null) {
  const { input } = await sponsored.clients.publicClient.getTransaction({ hash: txHash ?? '0x' })
  const settlement = decodeSettleMany(input)?.find((one) => one.account === account)
  if (!settlement) throw new Error(`${txHash} settles nothing of ${account}.`)
  return settlement.claims
}

/** Replaces the newest blocks by empty ones. */
async function reorganise(depth: number): Promise<void> {
  await sponsored.clients.publicClient.request({ method: 'anvil_reorg' as never, params: [depth, []] as never })
}

/** A merchant that collects with a voucher by themselves. */
async function collectDirectly({ grant, account }: Arranged, { merchant }: Seller, amount: bigint): Promise<void> {
  const { contracts, anvil } = sponsored
  const module = contracts.sessionKeyValidator
  const hash = createVoucherHasher({ chainId: anvil.chainId, module })
  const voucher = { grantId: grant.grantId, payee: merchant.payee, cumulativeAmount: amount }
  const { signature } = signVoucher(hash, grant.sessionPrivateKey, voucher)
  const claim = { ...voucher, amount, signature, proof: payeeProofOf(grant.payees, merchant.payee) }
  await send(module, encodeSettleMany([{ account, terms: grant.terms, claims: [claim] }]))
  expect(await balanceOf(sponsored, merchant.payee)).toBe(amount)
}

async function setBlocked({ merchant }: Seller): Promise<void> {
  const { testUsdc } = sponsored.contracts
  await send(
    testUsdc,
    encodeFunctionData({ abi: testUsdcAbi, functionName: 'setBlocked', args: [merchant.payee, true] }),
  )
}

/** By an account that does nothing else here. */
async function send(to: Hex, data: Hex): Promise<void> {
  const account = devAccounts.owner.account
  const wallet = createWalletClient({ account, chain: sponsored.chain, transport: http(sponsored.anvil.url) })
  const hash = await wallet.sendTransaction({ to, data })
  const receipt = await sponsored.clients.publicClient.waitForTransactionReceipt({ hash })
  expect(receipt.status).toBe('success')
}

/** As if its owner had, with gas of their own. */
async function approve({ account }: Arranged, amount: bigint): Promise<void> {
  const { contracts, clients, chain, anvil } = sponsored
  await node().impersonateAccount({ address: account })
  await node().setBalance({ address: account, value: parseEther('1') })
  const wallet = createWalletClient({ account, chain, transport: http(anvil.url) })
  const args = [contracts.sessionKeyValidator, amount] as const
  const hash = await wallet.writeContract({ abi: erc20Abi, address: contracts.testUsdc, functionName: 'approve', args })
  await clients.publicClient.waitForTransactionReceipt({ hash })
  await node().stopImpersonatingAccount({ address: account })
}

async function unfreeze({ person, grant }: Arranged): Promise<void> {
  await asOwner(person, unfreezeCall({ module: sponsored.contracts.sessionKeyValidator, grantId: grant.grantId }))
}

async function asOwner({ account, bundlerClient }: TestOwner, call: Call): Promise<void> {
  const hash = await bundlerClient.sendUserOperation({ account, calls: [call] })
  const { success } = await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })
  expect(success).toBe(true)
}
