import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import {
  createBundler,
  entryPoint08,
  grantSetupCalls,
  predictStreamAccount,
  type StreamSmartAccount,
  toStreamSmartAccount,
} from '@protocolbanks/stream-bundler-client'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import {
  type Anvil,
  type Bundler,
  type ChainClients,
  createChainClients,
  createTempDir,
  type DevContracts,
  deployEntryPoint,
  devAccounts,
  mintTestUsdc,
  type Service,
  setUpContracts,
  startAnvil,
  startBundler,
  startService,
} from '@protocolbanks/stream-dev'
import {
  type Address,
  type GrantTerms,
  grantIdOf,
  type Hex,
  payeeRootOf,
  reserveOf,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type Chain, http, numberToHex } from 'viem'
import { type BundlerClient, createBundlerClient, createPaymasterClient } from 'viem/account-abstraction'
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'

/** A chain with our contracts, a bundler, a database of its own and the paymaster in front of it. */
export type SponsoredChain = {
  anvil: Anvil
  clients: ChainClients
  entryPoint: Address
  contracts: DevContracts
  bundler: Bundler
  database: TestDatabase
  paymaster: Service
  operatorApiKey: string
  logDirectory: string
  chain: Chain
  /** The transactions that fund owners. */
  minting: Promise<void>
  /** Environment that all services share. */
  env: Record<string, string>
  stop(): Promise<void>
}

export async function startSponsoredChain(
  postgresUrl: string,
  options: { paymasterEnv?: Record<string, string>; blockTimeSeconds?: number } = {},
): Promise<SponsoredChain> {
  const { paymasterEnv = {}, blockTimeSeconds } = options
  const timing = blockTimeSeconds === undefined ? {} : { blockTimeSeconds }
  const stops: (() => Promise<void>)[] = []
  const stop = async () => {
    for (const one of stops.splice(0).reverse()) await one()
  }
  try {
    const directory = await createTempDir('sponsored-chain')
    stops.push(() => directory.remove())
    const logDirectory = join(directory.path, 'logs')
    await mkdir(logDirectory)
    const anvil = await startAnvil(timing)
    stops.push(() => anvil.stop())
    const clients = createChainClients(anvil.url, devAccounts.operator.account)
    const entryPoint = await deployEntryPoint(clients)
    const contracts = await setUpContracts(clients, entryPoint)
    const bundler = await startBundler({ rpcUrl: anvil.url, entryPoint, ...timing })
    stops.push(() => bundler.stop())
    const database = await createTestDatabase(postgresUrl)
    stops.push(() => database.drop())
    const env = {
      DATABASE_URL: database.url,
      RPC_URL: anvil.url,
      CHAIN_ID: `${anvil.chainId}`,
      LOG_LEVEL: 'debug',
      SESSION_MODULE: contracts.sessionKeyValidator,
      ENTRY_POINT: entryPoint,
      TOKEN: contracts.testUsdc,
    }
    const operatorApiKey = 'operator key of the tests only'.replaceAll(' ', '_')
    const parts = { anvil, clients, entryPoint, contracts, bundler, database, operatorApiKey, logDirectory, env }
    const paymaster = await startPaymaster(parts, { env: paymasterEnv })
    const sponsored: SponsoredChain = {
      ...parts,
      paymaster,
      chain: foundry,
      minting: Promise.resolve(),
      stop,
    }
    // Tests may have put others in their places.
    stops.push(async () => {
      await sponsored.paymaster.stop()
      await sponsored.bundler.stop()
    })
    return sponsored
  } catch (error) {
    await stop()
    throw error
  }
}

/** The paymaster as a process; a second one shares everything with the first. */
export function startPaymaster(
  {
    contracts,
    bundler,
    env,
    operatorApiKey,
    logDirectory,
  }: Pick<SponsoredChain, 'contracts' | 'bundler' | 'env' | 'operatorApiKey' | 'logDirectory'>,
  options: { env?: Record<string, string>; port?: number } = {},
): Promise<Service> {
  return startService('paymaster', {
    logDirectory,
    ...(options.port === undefined ? {} : { port: options.port }),
    env: {
      ...env,
      OPERATOR_API_KEY: operatorApiKey,
      SPONSOR_PAYMASTER: contracts.sponsorPaymaster,
      PAYMASTER_SIGNER_KEY: devAccounts.paymasterSigner.privateKey,
      ACCOUNT_FACTORY: contracts.streamAccountFactory,
      ACCOUNT_DELEGATE: contracts.streamAccount7702Implementation,
      BUNDLER_URL: bundler.url,
      POLL_MS: '100',
      ...options.env,
    },
  })
}

export type TestOwner = {
  owner: PrivateKeyAccount
  account: StreamSmartAccount
  bundlerClient: BundlerClient
}

/** What a person needs to get an account and to give a budget out of it. */
export type OwnerChain = Pick<
  SponsoredChain,
  'anvil' | 'clients' | 'contracts' | 'bundler' | 'operatorApiKey' | 'chain' | 'minting'
> & { paymaster: Pick<Service, 'url'> }

/** A person with a funded account that is not deployed yet. `apiKey`: who pays for their gas. */
export async function createOwner(
  sponsored: OwnerChain,
  { apiKey, fundsAtomic = 100_000_000n }: { apiKey?: string; fundsAtomic?: bigint } = {},
): Promise<TestOwner> {
  const { clients, contracts, bundler, paymaster, operatorApiKey, chain } = sponsored
  const owner = privateKeyToAccount(generatePrivateKey())
  const account = await toStreamSmartAccount({
    client: clients.publicClient,
    owner,
    factory: contracts.streamAccountFactory,
    bundler: createBundler({
      url: bundler.url,
      chainId: sponsored.anvil.chainId,
      entryPoint: entryPoint08,
      chain: clients.publicClient,
    }),
  })
  // One after the other: the operator's transactions have consecutive nonces.
  const mint = () =>
    mintTestUsdc(clients, { token: contracts.testUsdc, to: account.address, amountAtomic: fundsAtomic })
  sponsored.minting = sponsored.minting.then(mint)
  await sponsored.minting
  const bundlerClient = createBundlerClient({
    account,
    chain,
    client: clients.publicClient,
    transport: http(bundler.url),
    paymaster: createPaymasterClient({
      transport: http(`${paymaster.url}/rpc?apikey=${apiKey ?? operatorApiKey}`, { retryCount: 0 }),
    }),
    pollingInterval: 50,
  })
  return { owner, account, bundlerClient: bundlerClient as BundlerClient }
}

export type TestGrant = {
  grantId: Hex
  terms: GrantTerms
  sessionPrivateKey: Hex
  payees: readonly Address[]
  /** Block that has the grant. */
  blockNumber: bigint
}

/**
 * The owner's one operation: deployment if needed, install, approve, grant; through the paymaster and the bundler. With a
 * `deposit` (0n: enough is in the reserve) the grant is paid from the reserve, and nothing is allowed to the module.
 */
export async function grantBudget(
  { clients, contracts, anvil }: Pick<OwnerChain, 'clients' | 'contracts' | 'anvil'>,
  { account, bundlerClient }: TestOwner,
  options: {
    payees: readonly Address[]
    terms?: Partial<GrantTerms>
    guardian?: Address | undefined
    deposit?: bigint | undefined
  },
): Promise<TestGrant> {
  const { payees, guardian = devAccounts.guardian.address, deposit } = options
  const sessionPrivateKey = generatePrivateKey()
  const { timestamp } = await clients.publicClient.getBlock()
  const terms: GrantTerms = {
    sessionKey: privateKeyToAccount(sessionPrivateKey).address,
    settler: devAccounts.settler.address,
    token: contracts.testUsdc,
    totalLimit: 50_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: Number(timestamp) - 60,
    validUntil: Number(timestamp) + 86_400,
    payeeRoot: payeeRootOf(payees),
    source: deposit === undefined ? 'allowance' : 'reserve',
    salt: numberToHex(BigInt(generatePrivateKey()) >> 64n, { size: 24 }),
    ...options.terms,
  }
  const module = contracts.sessionKeyValidator
  const [, epoch, installed] = await clients.publicClient.readContract({
    abi: sessionKeyValidatorAbi,
    address: module,
    functionName: 'accountState',
    args: [account.address],
  })
  const hash = await bundlerClient.sendUserOperation({
    account,
    calls: grantSetupCalls({
      account: account.address,
      module,
      guardian: installed ? undefined : guardian,
      token: contracts.testUsdc,
      terms,
      ...(deposit === undefined ? { allowance: 100_000_000n } : { reserve: reserveOf(module), deposit }),
    }),
  })
  const { success, receipt } = await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })
  if (!success) throw new Error(`The owner's setup ${hash} reverted.`)
  const grantId = grantIdOf({ chainId: anvil.chainId, module, account: account.address, epoch }, terms)
  return { grantId, terms, sessionPrivateKey, payees, blockNumber: receipt.blockNumber }
}

/** Where the factory would put the owner's account, computed without a chain. */
export function predictedAddress(
  contracts: DevContracts & { streamAccountImplementation: Address },
  owner: Address,
  salt: Hex,
): Address {
  const { streamAccountFactory, streamAccountImplementation } = contracts
  return predictStreamAccount(
    { address: streamAccountFactory, implementation: streamAccountImplementation },
    { owner, salt },
  )
}
