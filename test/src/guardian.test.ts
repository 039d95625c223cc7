import { listOpenStops, openIncident, upsertGrantsFromChain } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import {
  type Anvil,
  type ChainClients,
  createChainClients,
  deployEntryPoint,
  devAccounts,
  setUpContracts,
  startAnvil,
} from '@protocolbanks/stream-dev'
import {
  type Address,
  type GrantTerms,
  grantIdOf,
  type Hex,
  payeeRootOf,
  toContractTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { createLogger } from '@protocolbanks/stream-runtime'
import { createGuardian, createGuardianSigner, type GuardianDeps } from '@protocolbanks/stream-sentinel'
import {
  createPublicClient,
  createTestClient,
  createWalletClient,
  encodeAbiParameters,
  http,
  keccak256,
  type PrivateKeyAccount,
  parseEther,
  parseEventLogs,
  parseGwei,
  parseTransaction,
} from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest'

// What the guardian does with stops, step by step, on a chain whose blocks the test makes.

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 })

const guardianKey = privateKeyToAccount(devAccounts.guardian.privateKey)
const now = new Date()

let anvil: Anvil
let clients: ChainClients
let module: Address
let token: Address
let database: TestDatabase
beforeAll(async () => {
  anvil = await startAnvil()
  clients = createChainClients(anvil.url, devAccounts.operator.account)
  const contracts = await setUpContracts(clients, await deployEntryPoint(clients))
  module = contracts.sessionKeyValidator
  token = contracts.testUsdc
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(async () => {
  await database?.drop()
  await anvil?.stop()
})
afterEach(async () => {
  await node().setAutomine(true)
  await node().mine({ blocks: 1 })
  await database.query(`update sentinel_stop set chain_state = 'impossible' where chain_state in ('due', 'sent')`)
})

test('many grants are stopped by one transaction, and each is proven by its own event in it', async () => {
  const grants = [await arrangeStop(), await arrangeStop(), await arrangeStop()]
  const { drive } = arrangeGuardian()
  const before = await sentTransactions()
  await drive()
  // The node mines what it takes a moment later.
  await expect.poll(sentTransactions).toBe(before + 1)
  await drive()
  const stops = await stopsOf(grants)
  const receipt = await clients.publicClient.getTransactionReceipt({ hash: stops[0]?.tx_hash ?? '0x' })
  const events = parseEventLogs({ abi: sessionKeyValidatorAbi, logs: receipt.logs, eventName: 'GrantFrozen' })
  expect(stops).toEqual(
    grants.map(({ grantId }) => ({
      chain_state: 'confirmed',
      tx_hash: receipt.transactionHash,
      log_index: events.find(({ args }) => args.grantId === grantId)?.logIndex,
      error_code: null,
    })),
  )
})

test('what waits for long is replaced under the same nonce, with more fees, for the same grants', async () => {
  const grants = [await arrangeStop(), await arrangeStop()]
  const { drive, pass } = arrangeGuardian()
  await node().setAutomine(false)
  await drive()
  const [first] = await rawTransactions(grants)
  pass(13_000)
  await drive()
  const [second, same] = await rawTransactions(grants)
  expect(same).toBe(second)
  const [one, other] = [parseTransaction(first ?? '0x'), parseTransaction(second ?? '0x')]
  expect(other).toMatchObject({ nonce: one.nonce, data: one.data, to: one.to })
  expect(other.maxFeePerGas).toBeGreaterThan(one.maxFeePerGas ?? 0n)
  await node().mine({ blocks: 1 })
  await drive()
  for (const stop of await stopsOf(grants))
    expect(stop).toMatchObject({ chain_state: 'confirmed', tx_hash: keccak256(second ?? '0x') })
})

test('a grant that the guardian may not stop any more holds up no other in its transaction', async () => {
  const [lost, kept] = [await arrangeStop(), await arrangeStop()]
  const { drive } = arrangeGuardian()
  await node().setAutomine(false)
  await drive()
  // Its owner names another guardian, and is in the block before.
  await walletOf(lost.owner).writeContract({
    ...contract('setGuardian'),
    args: [devAccounts.payee.address],
    maxFeePerGas: parseGwei('900'),
    maxPriorityFeePerGas: parseGwei('800'),
  })
  await node().mine({ blocks: 1 })
  await drive()
  expect(await stopsOf([lost, kept])).toMatchObject([
    { chain_state: 'impossible', error_code: 'guardian.not_named', tx_hash: null },
    { chain_state: 'confirmed' },
  ])
})

test('what somebody else stopped is done without a transaction, what the chain does not know is given up', async () => {
  const [frozen, unknown] = [await arrangeStop(), await arrangeStop({ onChain: false })]
  await mined(
    walletOf(frozen.owner).writeContract({ ...contract('freeze'), args: [frozen.owner.address, frozen.grantId] }),
  )
  const before = await sentTransactions()
  await arrangeGuardian().drive()
  expect(await stopsOf([frozen, unknown])).toMatchObject([
    { chain_state: 'confirmed', tx_hash: null, log_index: null },
    { chain_state: 'impossible', error_code: 'grant.not_on_chain' },
  ])
  expect(await sentTransactions()).toBe(before)
})

test('a sentinel that read before another sent does not send it again', async () => {
  const grants = [await arrangeStop(), await arrangeStop()]
  const [one, other] = [arrangeGuardian(), arrangeGuardian()]
  await node().setAutomine(false)
  const read = await listOpenStops(database.db, 100, 'chain')
  await one.guardian.drive(read)
  const [sent] = await rawTransactions(grants)
  await other.guardian.drive(read)
  expect(await rawTransactions(grants)).toEqual([sent, sent])
  // Who takes over sees it through.
  await node().mine({ blocks: 1 })
  await other.drive()
  expect(await stopsOf(grants)).toMatchObject([{ chain_state: 'confirmed' }, { chain_state: 'confirmed' }])
})

test('what does not fit into one transaction goes in several, all on their way at once', async () => {
  const grants = []
  for (let grant = 0; grant < 7; grant++) grants.push(await arrangeStop())
  const { drive } = arrangeGuardian({ maxGas: 100_000n })
  const before = await sentTransactions()
  await node().setAutomine(false)
  await drive()
  await node().mine({ blocks: 1 })
  expect((await sentTransactions()) - before).toBe(3)
  await drive()
  for (const stop of await stopsOf(grants)) expect(stop).toMatchObject({ chain_state: 'confirmed' })
})

type Stopped = { grantId: Hex; owner: PrivateKeyAccount }

/** A grant that is to be frozen. Its account calls the module as any account does. */
async function arrangeStop({ onChain = true } = {}): Promise<Stopped> {
  const { db } = database
  const owner = privateKeyToAccount(generatePrivateKey())
  const terms: GrantTerms = {
    sessionKey: privateKeyToAccount(generatePrivateKey()).address,
    settler: devAccounts.settler.address,
    token,
    totalLimit: 100n,
    periodLimit: 0n,
    period: 0,
    validAfter: 0,
    validUntil: 4_000_000_000,
    payeeRoot: payeeRootOf([devAccounts.payee.address]),
    source: 'allowance',
    salt: `0x${'00'.repeat(24)}`,
  }
  const grantId = grantIdOf({ chainId: anvil.chainId, module, account: owner.address, epoch: 0n }, terms)
  if (onChain) {
    await node().setBalance({ address: owner.address, value: parseEther('1') })
    const guardian = encodeAbiParameters([{ type: 'address' }], [guardianKey.address])
    await mined(walletOf(owner).writeContract({ ...contract('onInstall'), args: [guardian] }))
    await mined(walletOf(owner).writeContract({ ...contract('grant'), args: [toContractTerms(terms)] }))
  }
  const state = { status: 'active', settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 1n } as const
  await upsertGrantsFromChain(db, [{ grantId, account: owner.address, epoch: 0n, terms, ...state }])
  await openIncident(db, {
    grantId,
    account: owner.address,
    rule: 'calls.per_minute',
    ruleVersion: 1,
    action: 'freeze',
    severity: 'critical',
    ruleId: null,
    payee: devAccounts.payee.address,
    requestId: 'request-0000000001',
    chargedAt: now,
    inputs: {},
    explanation: 'It made 101 calls within a minute.',
    now,
  })
  return { grantId, owner }
}

function arrangeGuardian(change: Partial<GuardianDeps> = {}) {
  let passedMs = 0
  const guardian = createGuardian({
    db: database.db,
    chain: createPublicClient({ chain: foundry, transport: http(anvil.url, { retryCount: 0 }) }),
    module,
    signer: createGuardianSigner(guardianKey, { chainId: anvil.chainId, module }),
    clock: () => Date.now() + passedMs,
    logger: createLogger({ service: 'test', level: 'silent', secrets: [] }),
    stuckMs: 12_000,
    maxFeePerGas: parseGwei('500'),
    maxGas: 3_000_000n,
    ...change,
  })
  return {
    guardian,
    drive: async () => guardian.drive(await listOpenStops(database.db, 100, 'chain')),
    pass(ms: number) {
      passedMs += ms
    },
  }
}

async function stopsOf(grants: readonly Stopped[]) {
  const rows = await database.query<{
    grant_id: Hex
    chain_state: string
    tx_hash: Hex | null
    log_index: number | null
    error_code: string | null
  }>('select grant_id, chain_state, tx_hash, log_index, error_code from sentinel_stop')
  return grants.flatMap(({ grantId }) => {
    const row = rows.find(({ grant_id }) => grant_id === grantId)
    if (!row) return []
    const { grant_id: _, ...stop } = row
    return [stop]
  })
}

async function rawTransactions(grants: readonly Stopped[]): Promise<(Hex | null)[]> {
  const stops = await listOpenStops(database.db, 100, 'chain')
  return grants.map(({ grantId }) => stops.find((stop) => stop.grantId === grantId)?.rawTransaction ?? null)
}

function sentTransactions(): Promise<number> {
  return clients.publicClient.getTransactionCount({ address: guardianKey.address })
}

function contract<const name extends string>(functionName: name) {
  return { address: module, abi: sessionKeyValidatorAbi, functionName } as const
}

async function mined(sending: Promise<Hex>): Promise<void> {
  const receipt = await clients.publicClient.waitForTransactionReceipt({ hash: await sending })
  expect(receipt.status).toBe('success')
}

function walletOf(account: PrivateKeyAccount) {
  return createWalletClient({ account, chain: foundry, transport: http(anvil.url) })
}

function node() {
  return createTestClient({ mode: 'anvil', chain: foundry, transport: http(anvil.url) })
}
