import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { migrate } from '@protocolbanks/stream-db'
import type { Address } from 'viem'
import { createTempDir } from '../processes/createTempDir.ts'
import { type Anvil, startAnvil } from './anvil.ts'
import { type Bundler, startBundler } from './bundler.ts'
import { type ChainClients, createChainClients } from './chainClients.ts'
import { type DevContracts, setUpContracts } from './contracts.ts'
import { devAccounts } from './devAccounts.ts'
import { deployEntryPoint } from './entryPoint.ts'
import { type Postgres, startPostgres } from './postgres.ts'
import { type Redis, startRedis } from './redis.ts'
import { type DevSafes, safesEnv, setUpSafes } from './safes.ts'
import { type Service, type ServiceName, startService } from './service.ts'

export type StackPorts = Partial<Record<'anvil' | 'bundler' | ServiceName, number>>

export type StackOptions = {
  /** `auto`: Redis when there is one (see redis.ts). `false`: never, the gateway's meter is embedded. */
  withRedis?: 'auto' | false
  /** `true`: Safes are served too, with EntryPoint v0.7 beside v0.8. */
  withSafes?: true
  /** `true`: the sentinel watches, and freezes as the guardian. */
  withSentinel?: true
  /** Told what has been started and how long it took. */
  log?: (line: string) => void
  /** Fixed ports; a free one for each that is left out. */
  ports?: StackPorts
  /** Seconds between blocks; by default every transaction gets its own block at once. */
  blockTimeSeconds?: number
  /** Logs of the services go here and stay. By default to a temporary directory that goes away with the stack. */
  logDirectory?: string
  /** Level of the services' logs. */
  logLevel?: string
  /** More or other configuration for a service. */
  env?: Partial<Record<ServiceName, Record<string, string>>>
}

export type Stack = {
  chain: Anvil
  entryPoint: Address
  contracts: DevContracts
  /** Undefined without `withSafes`. */
  safes: DevSafes | undefined
  /** Clients of the chain that pay with the operator's account. */
  clients: ChainClients
  bundler: Bundler
  postgres: Postgres
  /** Connection string of the services' database. */
  databaseUrl: string
  redis: Redis | undefined
  gateway: Service
  paymaster: Service
  settlement: Service
  /** Undefined without `withSentinel`. */
  sentinel: Service | undefined
  /** Creates merchants and their keys at the gateway, and manages the paymaster. */
  operatorApiKey: string
  accounts: typeof devAccounts
  logDirectory: string
  /** Stops everything, the services first. Safe to call again. */
  stop(): Promise<void>
}

/**
 * Starts everything there is, on this machine, out of npm packages: a chain with EntryPoint v0.8 and our contracts, a
 * bundler, PostgreSQL, Redis, paymaster, gateway and settlement. Takes about ten seconds. When something does not
 * start, all that has is stopped, and the error says which and what it said last.
 */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const running: { stop(): Promise<void> }[] = []
  const startedAt = performance.now()
  /** Runs one step, remembers how to stop what came of it, and reports. */
  const start = async <T>(what: string, step: () => Promise<T>): Promise<T> => {
    const result = await step()
    if (isStoppable(result)) running.push(result)
    options.log?.(`${what} (${((performance.now() - startedAt) / 1_000).toFixed(1)} s)`)
    return result
  }
  const stop = async () => {
    // Last started, first stopped: services go before what they stand on.
    for (const thing of running.splice(0).reverse()) await thing.stop()
  }

  try {
    const logs = options.logDirectory ? undefined : await createTempDir('logs')
    if (logs) running.push({ stop: () => logs.remove() })
    const logDirectory = options.logDirectory ?? logs?.path ?? ''
    await mkdir(logDirectory, { recursive: true })

    const [chain, database, redis] = await allOrNothing([
      startChain(options, start),
      startDatabase(start),
      options.withRedis === false ? undefined : start('Redis', startRedis),
    ])
    const services = await startServices({ options, start, logDirectory, chain, database, redis })
    return { ...chain, ...database, ...services, redis, accounts: devAccounts, logDirectory, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

type Start = <T>(what: string, step: () => Promise<T>) => Promise<T>

async function startChain(options: StackOptions, start: Start) {
  const { ports = {}, blockTimeSeconds } = options
  const timing = blockTimeSeconds === undefined ? {} : { blockTimeSeconds }
  const chain = await start('chain (anvil)', () =>
    startAnvil({ ...timing, ...(ports.anvil === undefined ? {} : { port: ports.anvil }) }),
  )
  const clients = createChainClients(chain.url, devAccounts.operator.account)
  const entryPoint = await deployEntryPoint(clients)
  const otherEntryPoints = options.withSafes ? [await deployEntryPoint(clients, '0.7')] : []
  const [{ contracts, safes }, bundler] = await allOrNothing([
    start('contracts', async () => {
      const contracts = await setUpContracts(clients, entryPoint)
      return { contracts, safes: options.withSafes && (await setUpSafes(clients)) }
    }),
    start('bundler (alto)', () =>
      startBundler({
        rpcUrl: chain.url,
        entryPoint,
        otherEntryPoints,
        ...timing,
        ...(ports.bundler === undefined ? {} : { port: ports.bundler }),
      }),
    ),
  ])
  return { chain, clients, entryPoint, contracts, safes, bundler }
}

async function startDatabase(start: Start): Promise<{ postgres: Postgres; databaseUrl: string }> {
  const postgres = await start('PostgreSQL', startPostgres)
  await start('database schema', () => migrate({ url: postgres.url }))
  return { postgres, databaseUrl: postgres.url }
}

async function startServices(p: {
  options: StackOptions
  start: Start
  logDirectory: string
  chain: Awaited<ReturnType<typeof startChain>>
  database: { databaseUrl: string }
  redis: Redis | undefined
}) {
  const { options, start, logDirectory, chain, database, redis } = p
  const { ports = {}, env = {} } = options
  const operatorApiKey = `dev_${randomBytes(24).toString('hex')}`
  const common = {
    DATABASE_URL: database.databaseUrl,
    RPC_URL: chain.chain.url,
    CHAIN_ID: `${chain.chain.chainId}`,
    LOG_LEVEL: options.logLevel ?? 'info',
    SESSION_MODULE: chain.contracts.sessionKeyValidator,
    ENTRY_POINT: chain.entryPoint,
    TOKEN: chain.contracts.testUsdc,
    ...(chain.safes && safesEnv(chain.safes)),
  }
  const startOne = (name: ServiceName, own: Record<string, string>) =>
    start(name, () =>
      startService(name, {
        logDirectory,
        env: { ...common, ...own, ...env[name] },
        ...(ports[name] === undefined ? {} : { port: ports[name] }),
      }),
    )

  // Settlement needs the paymaster's address, the gateway needs neither.
  const withPaymaster = async () => {
    const paymaster = await startOne('paymaster', {
      OPERATOR_API_KEY: operatorApiKey,
      SPONSOR_PAYMASTER: chain.contracts.sponsorPaymaster,
      PAYMASTER_SIGNER_KEY: devAccounts.paymasterSigner.privateKey,
      ACCOUNT_FACTORY: chain.contracts.streamAccountFactory,
      ACCOUNT_DELEGATE: chain.contracts.streamAccount7702Implementation,
      BUNDLER_URL: chain.bundler.url,
      POLL_MS: '250',
    })
    const settlement = await startOne('settlement', {
      BUNDLER_URL: chain.bundler.url,
      PAYMASTER_URL: paymaster.url,
      PAYMASTER_API_KEY: operatorApiKey,
      SETTLER_KEY: devAccounts.settler.privateKey,
      POLL_MS: '250',
      // Without a block time the next block comes with the next transaction, which may never be.
      CONFIRMATIONS: options.blockTimeSeconds === undefined ? '1' : '2',
    })
    return { paymaster, settlement }
  }
  const [gateway, others] = await allOrNothing([
    startOne('gateway', {
      OPERATOR_API_KEY: operatorApiKey,
      SETTLER_ADDRESS: devAccounts.settler.address,
      START_BLOCK: '0',
      INDEXER_POLL_MS: '250',
      // Receivers on this machine are what local development has.
      WEBHOOK_ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
      WEBHOOK_ALLOW_PRIVATE_NETWORKS: 'true',
      UPSTREAM_ALLOW_PRIVATE_NETWORKS: 'true',
      CLIENT_HASH_KEY: randomBytes(32).toString('base64'),
      RECEIPT_KEY: `0x${randomBytes(32).toString('hex')}`,
      RELAYER_KEY: devAccounts.relayer.privateKey,
      EXACT_FACTORIES: chain.contracts.streamAccountFactory,
      ...(redis ? { REDIS_URL: redis.url } : {}),
    }),
    withPaymaster(),
  ])
  const sentinel = options.withSentinel
    ? await startOne('sentinel', {
        GATEWAY_URLS: gateway.url,
        GATEWAY_API_KEY: operatorApiKey,
        GUARDIAN_KEY: devAccounts.guardian.privateKey,
        POLL_MS: '250',
      })
    : undefined
  return { gateway, ...others, sentinel, operatorApiKey }
}

/** Like Promise.all, but lets all of them come to an end before it throws, so that nothing starts after the clean-up. */
async function allOrNothing<T extends readonly unknown[]>(
  steps: readonly [...T],
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(steps)
  return Promise.all(steps)
}

function isStoppable(value: unknown): value is { stop(): Promise<void> } {
  return typeof value === 'object' && value !== null && 'stop' in value && typeof value.stop === 'function'
}
