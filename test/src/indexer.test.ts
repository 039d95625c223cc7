import { randomBytes } from 'node:crypto'
import {
  createMerchant,
  ensureChannel,
  eventsAbove,
  getChannel,
  getGrant,
  listAccountFunds,
  loadAccountState,
  type Merchant,
  registerPendingGrant,
} from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import {
  type Anvil,
  type ChainClients,
  createChainClients,
  type DevContracts,
  deployEntryPoint,
  devAccounts,
  devChainId,
  mintTestUsdc,
  setUpContracts,
  startAnvil,
} from '@protocolbanks/stream-dev'
import { createIndexer, createMeter, type Meter } from '@protocolbanks/stream-gateway'
import {
  type Address,
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  type Hex,
  packClaims,
  packTerms,
  payeeProofOf,
  payeeRootOf,
  signVoucher,
  toContractTerms,
} from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { pino } from 'pino'
import {
  createPublicClient,
  createWalletClient,
  custom,
  type EncodeFunctionDataParameters,
  encodeFunctionData,
  http,
  type LocalAccount,
  type PublicClient,
  parseEther,
} from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'

// The module takes any caller for an account, so the accounts here are plain keys: one transaction for one change.

let anvil: Anvil
let clients: ChainClients
let contracts: DevContracts
let module: Address
let reserve: Address
let token: Address

beforeAll(async () => {
  anvil = await startAnvil()
  clients = createChainClients(anvil.url, devAccounts.operator.account)
  contracts = await setUpContracts(clients, await deployEntryPoint(clients))
  module = contracts.sessionKeyValidator
  token = contracts.testUsdc
  const { publicClient } = clients
  reserve = await publicClient.readContract({ address: module, abi: sessionKeyValidatorAbi, functionName: 'reserve' })
}, 180_000)
afterAll(() => anvil?.stop())

let database: TestDatabase
let merchants: Merchant[]
beforeEach(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  merchants = [await createSeller(), await createSeller()]
  return () => database.drop()
})

describe('one tick brings', () => {
  test('a new grant with its terms and its money, and it can be charged', async () => {
    const { indexer, meter } = await startIndexer()
    const grant = await createGrant()
    await indexer.tick()
    const stored = await getGrant(database.db, grant.grantId)
    expect(stored).toMatchObject({ ...grant.terms, account: grant.account.address, effectiveStatus: 'active' })
    expect(await meter.read(grant.account.address, grant.grantId)).toMatchObject({
      status: 'active',
      accountFunds: 50_000_000n,
    })
    expect(await charge(meter, grant)).toBe('charged')
    expect(indexer.freshness()?.block).toBe(await clients.publicClient.getBlockNumber())
  })

  test('a grant that was registered before: what was pending is active', async () => {
    const { indexer, meter } = await startIndexer()
    const [merchant] = merchants
    const grant = await createGrant({
      async before({ grantId, account, terms }) {
        await registerPendingGrant(database.db, { grantId, account: account.address, epoch: 0n, terms })
        await ensureChannel(database.db, {
          grantId,
          payee: payeeOf(merchant),
          merchantId: idOf(merchant),
          payeeProof: [],
        })
      },
    })
    await indexer.tick()
    expect(await getGrant(database.db, grant.grantId)).toMatchObject({ status: 'active' })
    expect(await charge(meter, grant)).toBe('charged')
  })

  test('what was settled, of a grant with one payee and of one with several', async () => {
    const { indexer, meter } = await startIndexer()
    const grants = [await createGrant(), await createGrant({ payees: merchants.map(payeeOf) })]
    for (const grant of grants) await settle(grant, 3_000_000n)
    await indexer.tick()
    for (const grant of grants) {
      const payee = payeeOf(merchants[0])
      expect(await getGrant(database.db, grant.grantId)).toMatchObject({ settled: 3_000_000n })
      expect(await getChannel(database.db, grant.grantId, payee)).toMatchObject({ settled: 3_000_000n })
      const live = await meter.read(grant.account.address, grant.grantId)
      expect(live).toMatchObject({ settled: 3_000_000n, accountFunds: 47_000_000n })
    }
  })

  test('freezes and their end, of a grant and of the account, and revocations', async () => {
    const { indexer, meter } = await startIndexer()
    const grant = await createGrant()
    const status = async () => {
      await indexer.tick()
      return [(await getGrant(database.db, grant.grantId))?.effectiveStatus, await charge(meter, grant)]
    }
    expect(await status()).toEqual(['active', 'charged'])
    await send(grant.account, { functionName: 'freeze', args: [grant.account.address, grant.grantId] })
    expect(await status()).toEqual(['frozen', 'grant.frozen'])
    await send(grant.account, { functionName: 'unfreeze', args: [grant.grantId] })
    expect(await status()).toEqual(['active', 'charged'])
    await send(grant.account, { functionName: 'freezeAll', args: [grant.account.address] })
    expect(await status()).toEqual(['frozen', 'grant.frozen'])
    await send(grant.account, { functionName: 'unfreezeAll', args: [] })
    expect(await status()).toEqual(['active', 'charged'])
    await send(grant.account, { functionName: 'revokeAll', args: [grant.account.address] })
    expect(await status()).toEqual(['revoked', 'grant.revoked'])
  })

  test('money that came or went, and a changed allowance', async () => {
    const { indexer, meter } = await startIndexer()
    const grant = await createGrant()
    const funds = async () => {
      await indexer.tick()
      return (await meter.read(grant.account.address, grant.grantId))?.accountFunds
    }
    expect(await funds()).toBe(50_000_000n)
    await mintTestUsdc(clients, { token, to: grant.account.address, amountAtomic: 5_000_000n })
    expect(await funds()).toBe(55_000_000n)
    await inToken(grant.account, { functionName: 'transfer', args: [devAccounts.payee.address, 45_000_000n] })
    expect(await funds()).toBe(10_000_000n)
    await inToken(grant.account, { functionName: 'approve', args: [module, 4_000_000n] })
    expect(await funds()).toBe(4_000_000n)
  })

  test('what is in the reserve: deposits, what is asked back and no more, what was paid and what was taken out', async () => {
    const { indexer, meter } = await startIndexer()
    const grant = await createGrant({ source: 'reserve' })
    const { account } = grant
    const seen = async () => {
      await indexer.tick()
      const [mirrored] = await listAccountFunds(database.db, [account.address], token)
      const live = await meter.read(account.address, grant.grantId)
      return { ...mirrored?.reserve, funds: live?.accountFunds, settled: live?.settled }
    }
    const untouched = { withdrawing: 0n, withdrawableAt: 0, settled: 0n }
    // 50 USDC are allowed to the module: they are not this grant's.
    expect(await seen()).toEqual({ ...untouched, balance: 0n, funds: 0n })
    expect(await charge(meter, grant)).toBe('funds.insufficient')
    await deposit(account, 20_000_000n)
    expect(await seen()).toEqual({ ...untouched, balance: 20_000_000n, funds: 20_000_000n })
    expect(await charge(meter, grant)).toBe('charged')

    await inReserve(account, { functionName: 'requestWithdrawal', args: [token, 19_990_001n] })
    const { timestamp } = await clients.publicClient.getBlock()
    const asked = { withdrawing: 19_990_001n, withdrawableAt: Number(timestamp) + 86_400 }
    expect(await seen()).toEqual({ ...asked, balance: 20_000_000n, funds: 9_999n, settled: 0n })
    expect(await charge(meter, grant)).toBe('funds.insufficient')
    await settle(grant, 3_000_000n)
    // What was charged before is paid out of what was asked back.
    const left = { balance: 17_000_000n, withdrawing: 17_000_000n, withdrawableAt: asked.withdrawableAt }
    expect(await seen()).toEqual({ ...left, funds: 0n, settled: 3_000_000n })
    await inReserve(account, { functionName: 'cancelWithdrawal', args: [token] })
    expect(await seen()).toEqual({ ...untouched, balance: 17_000_000n, funds: 17_000_000n, settled: 3_000_000n })
    expect(await charge(meter, grant)).toBe('charged')

    await inReserve(account, { functionName: 'requestWithdrawal', args: [token, 17_000_000n] })
    await clients.publicClient.request({ method: 'evm_increaseTime' as never, params: [86_400] as never })
    await inReserve(account, { functionName: 'withdraw', args: [token, devAccounts.payee.address] })
    expect(await seen()).toEqual({ ...untouched, balance: 0n, funds: 0n, settled: 3_000_000n })
    const events = await eventsAbove(database.db, 0n)
    expect(events.filter((event) => event.account === account.address).map(({ name }) => name)).toEqual([
      'Installed',
      'GrantCreated',
      'Deposited',
      'WithdrawalRequested',
      'Settled',
      'WithdrawalCancelled',
      'WithdrawalRequested',
      'Withdrawn',
    ])
  })

  test('what was settled before all grants of the account were revoked', async () => {
    const { indexer } = await startIndexer()
    const grant = await createGrant({ payees: merchants.map(payeeOf) })
    await settle(grant, 2_000_000n)
    await send(grant.account, { functionName: 'revokeAll', args: [grant.account.address] })
    await indexer.tick()
    const channel = await getChannel(database.db, grant.grantId, payeeOf(merchants[0]))
    expect(channel).toMatchObject({ settled: 2_000_000n })
  })
})

test('a claim that the chain skipped opens no channel for a payee that nobody knows', async () => {
  const { indexer } = await startIndexer()
  const grant = await createGrant()
  const stranger = privateKeyToAccount(generatePrivateKey()).address
  await settle(grant, 1_000_000n, stranger)
  await indexer.tick()
  const events = await eventsAbove(database.db, 0n)
  expect(events.filter(({ grantId }) => grantId === grant.grantId).map(({ name }) => name)).toEqual([
    'GrantCreated',
    'ClaimSkipped',
  ])
  expect(await getChannel(database.db, grant.grantId, stranger)).toBeUndefined()
})

test('a restart goes on at the cursor, and hands the new process everything that is live', async () => {
  const first = await startIndexer()
  const before = await createGrant()
  await first.indexer.tick()
  const asked: Call[] = []
  const second = await startIndexer({ aheadMs: 60_000, onCall: (call) => asked.push(call) })
  const after = await createGrant()
  const cursor = first.indexer.freshness()?.block ?? 0n
  await second.indexer.tick()
  for (const grant of [before, after]) expect(await charge(second.meter, grant)).toBe('charged')
  const ranges = rangesOf(asked)
  expect(ranges.length).toBeGreaterThan(0)
  expect(ranges.every(({ from }) => from > cursor)).toBe(true)
})

test('missed blocks are read in bounded ranges, over several ticks, and are not fresh until the end', async () => {
  const start = await clients.publicClient.getBlockNumber()
  const old = await createGrant()
  await clients.publicClient.request({ method: 'anvil_mine' as never, params: ['0x100'] as never })
  const late = await createGrant()
  const asked: Call[] = []
  const { indexer, meter } = await startIndexer({
    startBlock: start,
    maxRangeBlocks: 16n,
    onCall: (call) => asked.push(call),
  })
  await indexer.tick()
  expect(indexer.freshness()).toBeUndefined()
  expect(await charge(meter, old)).toBe('charged')
  await indexer.tick()
  expect(indexer.freshness()?.block).toBe(await clients.publicClient.getBlockNumber())
  expect(await charge(meter, late)).toBe('charged')
  const ranges = rangesOf(asked)
  expect(ranges.length).toBeGreaterThanOrEqual(16)
  expect(ranges.every(({ from, to }) => to - from < 16n)).toBe(true)
})

test('a node that takes only small ranges is read in small ranges', async () => {
  const start = await clients.publicClient.getBlockNumber()
  await clients.publicClient.request({ method: 'anvil_mine' as never, params: ['0x64'] as never })
  const grant = await createGrant()
  const { indexer, meter } = await startIndexer({
    startBlock: start,
    maxRangeBlocks: 64n,
    onCall(call) {
      const [range] = rangesOf([call])
      if (range && range.to - range.from >= 20n) throw new Error('query exceeds max block range')
    },
  })
  // Refused with 64 and 32 blocks, taken with 16.
  await expect
    .poll(
      () =>
        indexer.tick().then(
          () => 'ok',
          () => 'refused',
        ),
      { interval: 1 },
    )
    .toBe('ok')
  expect(await charge(meter, grant)).toBe('charged')
})

describe.each([1, 2, 3, 4, 5])('a reorganisation of %i blocks', (depth) => {
  test('takes a grant back, which then cannot be charged, until the chain has it again', async () => {
    const { indexer, meter } = await startIndexer()
    const owner = await createOwner()
    await mine(depth)
    await indexer.tick()
    const grant = await createGrant({ owner })
    await mine(depth - 1)
    await indexer.tick()
    expect(await charge(meter, grant)).toBe('charged')

    await reorganise(depth)
    await indexer.tick()
    expect(await getGrant(database.db, grant.grantId)).toMatchObject({ status: 'none' })
    expect(await charge(meter, grant)).toBe('grant.revoked')
    const events = await eventsAbove(database.db, 0n)
    expect(events.some(({ grantId }) => grantId === grant.grantId)).toBe(false)

    await send(owner, { functionName: 'grant', args: [toContractTerms(grant.terms)] })
    await indexer.tick()
    expect(await getGrant(database.db, grant.grantId)).toMatchObject({ status: 'active' })
    expect(await charge(meter, grant)).toBe('charged')
  })

  test('takes a deposit back, and then the request for its return', async () => {
    const { indexer, meter } = await startIndexer()
    const grant = await createGrant({ source: 'reserve' })
    const funds = async () => {
      await mine(depth - 1)
      await indexer.tick()
      return (await meter.read(grant.account.address, grant.grantId))?.accountFunds
    }
    const takeBack = async () => {
      await reorganise(depth)
      await indexer.tick()
      return (await meter.read(grant.account.address, grant.grantId))?.accountFunds
    }
    await inToken(grant.account, { functionName: 'approve', args: [reserve, 9_000_000n] })
    await mine(depth)
    expect(await funds()).toBe(0n)
    await inReserve(grant.account, { functionName: 'deposit', args: [grant.account.address, token, 9_000_000n] })
    expect(await funds()).toBe(9_000_000n)
    expect(await takeBack()).toBe(0n)
    expect(await charge(meter, grant)).toBe('funds.insufficient')

    await inReserve(grant.account, { functionName: 'deposit', args: [grant.account.address, token, 9_000_000n] })
    expect(await funds()).toBe(9_000_000n)
    await mine(depth)
    await inReserve(grant.account, { functionName: 'requestWithdrawal', args: [token, 4_000_000n] })
    expect(await funds()).toBe(5_000_000n)
    expect(await takeBack()).toBe(9_000_000n)
    expect(await charge(meter, grant)).toBe('charged')
  })

  test('takes a settlement back, and the money it had moved', async () => {
    const { indexer, meter } = await startIndexer()
    const grant = await createGrant({ payees: merchants.map(payeeOf) })
    await mine(depth)
    await indexer.tick()
    await settle(grant, 3_000_000n)
    await mine(depth - 1)
    await indexer.tick()
    const payee = payeeOf(merchants[0])
    const mirrored = async () => ({
      grant: (await getGrant(database.db, grant.grantId))?.settled,
      channel: (await getChannel(database.db, grant.grantId, payee))?.settled,
      meter: (await meter.read(grant.account.address, grant.grantId))?.settled,
      funds: (await loadAccountState(database.db, grant.account.address, token))?.funds.allowance,
    })
    const paid = { grant: 3_000_000n, channel: 3_000_000n, meter: 3_000_000n, funds: 47_000_000n }
    expect(await mirrored()).toEqual(paid)
    await reorganise(depth)
    await indexer.tick()
    expect(await mirrored()).toEqual({ grant: 0n, channel: 0n, meter: 0n, funds: 50_000_000n })
    await settle(grant, 3_000_000n)
    await indexer.tick()
    expect(await mirrored()).toEqual(paid)
  })
})

test('a chain that went back and is shorter is not fresh until it has overtaken, and then taken as it is', async () => {
  const { indexer, meter, clock } = await startIndexer()
  const snapshot = await clients.publicClient.request({ method: 'evm_snapshot' as never })
  const grant = await createGrant()
  await indexer.tick()
  const before = indexer.freshness()
  await clients.publicClient.request({ method: 'evm_revert' as never, params: [snapshot] as never })
  clock.aheadMs += 1_000
  await indexer.tick()
  expect(indexer.freshness()).toEqual(before)
  await mine(10)
  await indexer.tick()
  expect(indexer.freshness()?.block).toBe(await clients.publicClient.getBlockNumber())
  expect(await charge(meter, grant)).toBe('grant.revoked')
})

test('a chain of which no indexed block is left is indexed anew', async () => {
  const { indexer, meter } = await startIndexer()
  const grant = await createGrant()
  await indexer.tick()
  await database.query(`update indexed_block set hash = '0x${'11'.repeat(32)}'`)
  await database.query(`update indexer_cursor set block_hash = '0x${'11'.repeat(32)}'`)
  await indexer.tick()
  expect(indexer.freshness()?.block).toBe(await clients.publicClient.getBlockNumber())
  expect(await getGrant(database.db, grant.grantId)).toMatchObject({ status: 'active' })
  expect(await charge(meter, grant)).toBe('charged')
})

test('while the chain does not answer the mirror ages, and it recovers by itself', async () => {
  const outage = { isOut: false, refused: 0 }
  const { indexer, meter } = await startIndexer({
    onCall() {
      if (!outage.isOut) return
      outage.refused++
      throw new Error('connect ECONNREFUSED')
    },
  })
  const stop = new AbortController()
  const running = indexer.run(stop.signal)
  await expect.poll(() => indexer.freshness()).toBeDefined()
  outage.isOut = true
  // One tick may be half-way: it is over when another one was refused.
  await expect.poll(() => outage.refused).toBeGreaterThan(1)
  const last = indexer.freshness()?.checkedAt
  const grant = await createGrant()
  const before = outage.refused
  await expect.poll(() => outage.refused).toBeGreaterThan(before + 2)
  expect(indexer.freshness()?.checkedAt).toBe(last)
  outage.isOut = false
  await expect.poll(() => charge(meter, grant)).toBe('charged')
  expect(indexer.freshness()?.checkedAt).toBeGreaterThan(last ?? 0)
  stop.abort()
  await running
})

test('while nothing happens the mirror stays fresh', async () => {
  const { indexer, clock } = await startIndexer()
  await indexer.tick()
  const { checkedAt = 0, block } = indexer.freshness() ?? {}
  clock.aheadMs += 5_000
  await indexer.tick()
  expect(indexer.freshness()?.block).toBe(block)
  expect(indexer.freshness()?.checkedAt).toBeGreaterThanOrEqual(checkedAt + 5_000)
})

test('of two processes one indexes and both know how fresh the mirror is; the other takes over when it is silent', async () => {
  const asked: Call[] = []
  const first = await startIndexer()
  const second = await startIndexer({ onCall: (call) => asked.push(call) })
  await first.indexer.tick()
  await second.indexer.tick()
  expect(asked).toEqual([])
  expect(second.indexer.freshness()).toEqual(first.indexer.freshness())

  const grant = await createGrant()
  second.clock.aheadMs += 60_000
  await second.indexer.tick()
  expect(await charge(second.meter, grant)).toBe('charged')
  await first.indexer.tick()
  expect(first.indexer.freshness()).toEqual(second.indexer.freshness())
})

test('what the meter did not take is brought to it when it is back', async () => {
  const state = { isUp: false }
  const inner = createMeter({ instance: 'gateway-1', clock: Date.now })
  const meter: Meter = {
    ...inner,
    async mirror(account) {
      if (!state.isUp) throw new Error('The meter is gone.')
      await inner.mirror(account)
    },
  }
  const { indexer } = await startIndexer({ meter })
  const grant = await createGrant()
  await indexer.tick()
  expect(await getGrant(database.db, grant.grantId)).toMatchObject({ status: 'active' })
  expect(await charge(inner, grant)).toBe('grant.unknown')
  state.isUp = true
  await indexer.tick()
  expect(await charge(inner, grant)).toBe('charged')
})

type Call = { method: string; params: unknown }
type TestIndexer = { indexer: ReturnType<typeof createIndexer>; meter: Meter; clock: { aheadMs: number } }

/** An indexer of its own process: its own meter, memory and clock. `onCall` sees every call to the chain. */
async function startIndexer(
  options: {
    startBlock?: bigint
    maxRangeBlocks?: bigint
    aheadMs?: number
    onCall?: (call: Call) => void
    meter?: Meter
  } = {},
): Promise<TestIndexer> {
  const { onCall, aheadMs = 0, meter = createMeter({ instance: 'gateway-1', clock: Date.now }) } = options
  const clock = { aheadMs }
  const node = http(anvil.url, { batch: true })({ chain: foundry })
  const client: PublicClient = createPublicClient({
    chain: foundry,
    transport: custom(
      {
        async request(call) {
          onCall?.(call)
          return node.request(call)
        },
      },
      { retryCount: 0 },
    ),
  })
  const indexer = createIndexer({
    db: database.db,
    client,
    meter,
    module,
    token,
    chainId: devChainId,
    startBlock: options.startBlock ?? (await clients.publicClient.getBlockNumber()),
    clock: () => Date.now() + clock.aheadMs,
    logger: pino({ level: 'silent' }),
    ...(options.maxRangeBlocks && { maxRangeBlocks: options.maxRangeBlocks }),
    pollMs: 50,
    staleAfterMs: 30_000,
  })
  return { indexer, meter, clock }
}

type TestGrant = {
  grantId: Hex
  account: LocalAccount
  sessionKey: Hex
  terms: GrantTerms
  payees: Address[]
  authorized: bigint
}

/** An account with 50 USDC, all of it allowed to the module. */
async function createOwner(): Promise<LocalAccount> {
  const owner = privateKeyToAccount(generatePrivateKey())
  const hash = await clients.walletClient.sendTransaction({ to: owner.address, value: parseEther('1') })
  await clients.publicClient.waitForTransactionReceipt({ hash })
  await mintTestUsdc(clients, { token, to: owner.address, amountAtomic: 50_000_000n })
  await send(owner, { functionName: 'onInstall', args: ['0x'] })
  await inToken(owner, { functionName: 'approve', args: [module, 1_000_000_000n] })
  return owner
}

async function createGrant(
  options: {
    owner?: LocalAccount
    payees?: Address[]
    source?: GrantTerms['source']
    before?: (grant: TestGrant) => Promise<void>
  } = {},
): Promise<TestGrant> {
  const { payees = [payeeOf(merchants[0])], source = 'allowance' } = options
  const account = options.owner ?? (await createOwner())
  const sessionKey = generatePrivateKey()
  const { timestamp } = await clients.publicClient.getBlock()
  const nowSeconds = Math.min(Number(timestamp), Math.floor(Date.now() / 1000))
  const terms: GrantTerms = {
    sessionKey: privateKeyToAccount(sessionKey).address,
    settler: devAccounts.settler.address,
    token,
    totalLimit: 100_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: nowSeconds - 60,
    validUntil: nowSeconds + 31_536_000,
    payeeRoot: payeeRootOf(payees),
    source,
    salt: `0x${randomBytes(24).toString('hex')}`,
  }
  const context = { chainId: devChainId, module, account: account.address, epoch: 0n }
  const grant = { grantId: grantIdOf(context, terms), account, sessionKey, terms, payees, authorized: 0n }
  await options.before?.(grant)
  await send(account, { functionName: 'grant', args: [toContractTerms(terms)] })
  return grant
}

/** Pays the first merchant, or tries to pay somebody else. */
async function settle(grant: TestGrant, amount: bigint, payee = payeeOf(merchants[0])): Promise<void> {
  const voucher = { grantId: grant.grantId, payee, cumulativeAmount: amount }
  const { signature } = signVoucher(createVoucherHasher({ chainId: devChainId, module }), grant.sessionKey, voucher)
  const proof = grant.payees.length > 1 ? payeeProofOf(grant.payees, payee) : []
  const claims = packClaims([{ ...voucher, amount, signature, proof }])
  await send(devAccounts.operator.account, {
    functionName: 'settle',
    args: [grant.account.address, packTerms(grant.terms), claims],
  })
}

type ModuleCall = EncodeFunctionDataParameters<typeof sessionKeyValidatorAbi>
type TokenCall = EncodeFunctionDataParameters<typeof testUsdcAbi>
type ReserveCall = EncodeFunctionDataParameters<typeof prepaidReserveAbi>

/** A call of the module by the account. */
function send(account: LocalAccount, call: Omit<ModuleCall, 'abi'>): Promise<void> {
  return sendData(account, module, encodeFunctionData({ abi: sessionKeyValidatorAbi, ...call } as ModuleCall))
}

/** A call of the token by the account. */
function inToken(account: LocalAccount, call: Omit<TokenCall, 'abi'>): Promise<void> {
  return sendData(account, token, encodeFunctionData({ abi: testUsdcAbi, ...call } as TokenCall))
}

/** A call of the reserve by the account. */
function inReserve(account: LocalAccount, call: Omit<ReserveCall, 'abi'>): Promise<void> {
  return sendData(account, reserve, encodeFunctionData({ abi: prepaidReserveAbi, ...call } as ReserveCall))
}

/** The account puts some of its own tokens aside. */
async function deposit(account: LocalAccount, amount: bigint): Promise<void> {
  await inToken(account, { functionName: 'approve', args: [reserve, amount] })
  await inReserve(account, { functionName: 'deposit', args: [account.address, token, amount] })
}

async function sendData(account: LocalAccount, to: Address, data: Hex): Promise<void> {
  const wallet = createWalletClient({ account, chain: foundry, transport: http(anvil.url) })
  const hash = await wallet.sendTransaction({ to, data })
  const receipt = await clients.publicClient.waitForTransactionReceipt({ hash })
  if (receipt.status !== 'success') throw new Error(`The transaction ${hash} to ${to} reverted.`)
}

/** Empty blocks. */
async function mine(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await clients.publicClient.request({ method: 'evm_mine' as never })
}

/** Other, empty blocks in the place of the newest. */
async function reorganise(depth: number): Promise<void> {
  await clients.publicClient.request({ method: 'anvil_reorg' as never, params: [depth, []] as never })
}

/** What the meter says to one cent more at the first merchant. */
async function charge(meter: Meter, grant: TestGrant): Promise<string> {
  grant.authorized += 10_000n
  const decision = await meter.charge({
    account: grant.account.address,
    grantId: grant.grantId,
    payee: payeeOf(merchants[0]),
    amount: 10_000n,
    cumulativeAmount: grant.authorized + 10_000_000n,
    requestId: randomBytes(16).toString('hex'),
    fingerprint: 'f',
    nowMs: Date.now(),
    settlementMarginSeconds: 600,
    event: { service: 'svc_1', merchant: idOf(merchants[0]), signature: `0x${'11'.repeat(65)}` },
  })
  return decision.ok ? 'charged' : decision.code
}

async function createSeller(): Promise<Merchant> {
  const payee = privateKeyToAccount(generatePrivateKey()).address
  return createMerchant(database.db, { name: 'Weather Inc', payee })
}

function payeeOf(merchant: Merchant | undefined): Address {
  if (!merchant) throw new Error('There is no such merchant.')
  return merchant.payee
}

function idOf(merchant: Merchant | undefined): string {
  if (!merchant) throw new Error('There is no such merchant.')
  return merchant.id
}

/** Block ranges of the log queries among the calls. */
function rangesOf(calls: Call[]): { from: bigint; to: bigint }[] {
  return calls.flatMap(({ method, params }) => {
    if (method !== 'eth_getLogs') return []
    const [{ fromBlock, toBlock }] = params as [{ fromBlock: Hex; toBlock: Hex }]
    return [{ from: BigInt(fromBlock), to: BigInt(toBlock) }]
  })
}
