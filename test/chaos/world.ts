import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import {
  type Anvil,
  type ChainClients,
  compileServices,
  createChainClients,
  createTempDir,
  type DevContracts,
  deployEntryPoint,
  devAccounts,
  freePort,
  setUpContracts,
  startAnvil,
} from '@protocolbanks/stream-dev'
import type { Address } from 'viem'
import { environmentOf } from './environmentOf.ts'
import { type ProcessName, processes, type ServiceName, services, type WireName, wires } from './fault.ts'
import { type BundlerServer, startBundlerServer } from './parts/bundlerServer.ts'
import { createWire, type Wire } from './parts/createWire.ts'
import { type PostgresServer, startPostgresServer } from './parts/postgresServer.ts'
import { type RedisServer, startRedisServer } from './parts/redisServer.ts'
import { type Supervised, supervise } from './parts/supervise.ts'

/** Everything that runs: two of each service that may have two, and what they stand on, each a process of its own. */
export type World = {
  chain: Anvil
  clients: ChainClients
  entryPoint: Address
  contracts: DevContracts
  redis: RedisServer
  postgres: PostgresServer
  bundler: BundlerServer
  processes: Record<ProcessName, Supervised>
  /** Where each listens. */
  urls: Record<ProcessName, string>
  wires: Record<WireName, Wire>
  operatorApiKey: string
  logDirectory: string
  /** Moves the clock that a service is told by so much; 0 is right again. */
  setClock(service: ServiceName, byMs: number): Promise<void>
  /** Whether GET /ready says 200 within a second. */
  isReady(process: ProcessName): Promise<boolean>
  /** Everything, the services first. */
  stop(): Promise<void>
}

const blockTimeSeconds = 1

/** @param logDirectory where the services' logs go, and stay; a temporary one by default */
export async function startWorld(options: {
  log(line: string): void
  logDirectory?: string | undefined
}): Promise<World> {
  const running: { stop(): Promise<void> }[] = []
  const stop = async () => {
    for (const one of running.splice(0).reverse()) await one.stop()
  }
  /** Remembers how to stop it. */
  const started = async <T extends { stop(): Promise<void> }>(what: string, starting: Promise<T>): Promise<T> => {
    const one = await starting
    running.push(one)
    options.log(`${what} runs`)
    return one
  }
  try {
    const directory = await createTempDir('chaos')
    running.push({ stop: () => directory.remove() })
    const logDirectory = options.logDirectory ?? join(directory.path, 'logs')
    const compiled = join(directory.path, 'compiled')
    await mkdir(logDirectory, { recursive: true })
    await mkdir(compiled)
    await compileServices(compiled, ['test/chaos/parts'])
    options.log('the services are compiled')

    const redis = await started('Redis', startRedisServer())
    const postgres = await started('PostgreSQL', startPostgresServer())
    const chain = await started('the chain', startAnvil())
    const clients = createChainClients(chain.url, devAccounts.operator.account)
    const entryPoint = await deployEntryPoint(clients)
    const contracts = await setUpContracts(clients, entryPoint)
    // Set up fast, a block for every transaction; from here on time makes them, as on any chain.
    const bundler = await started(
      'the bundler',
      startBundlerServer({ rpcUrl: chain.url, entryPoint, blockTimeSeconds }),
    )

    const ports = Object.fromEntries(await Promise.all(processes.map(async (name) => [name, await freePort()])))
    const urls = Object.fromEntries(processes.map((name) => [name, `http://127.0.0.1:${ports[name]}`])) as World['urls']
    const targets = { redis: redis.url, postgres: postgres.url, chain: chain.url, bundler: bundler.url, ...urls }
    const ways = Object.fromEntries(
      await Promise.all(
        wires.map(async (name) => {
          const target = targets[name.split('>')[1] as keyof typeof targets]
          const wire = await createWire(target)
          running.push({ stop: wire.close })
          return [name, wire]
        }),
      ),
    ) as World['wires']

    const clockFile = (name: string) => join(directory.path, `${name}.clock`)
    const operatorApiKey = `chaos_${randomBytes(24).toString('hex')}`
    const parts = { chain, contracts, entryPoint, wires: ways, urls, operatorApiKey }
    const start = async (name: ProcessName): Promise<[ProcessName, Supervised]> => {
      const isOurs = (services as readonly string[]).includes(name)
      const main = isOurs ? `${name.replace(/-\d$/, '')}/src/main.js` : 'test/chaos/parts/upstream.js'
      const clock = ['--import', pathToFileURL(join(compiled, 'test/chaos/parts/skewedClock.js')).href]
      const env = isOurs ? environmentOf(name as ServiceName, parts) : {}
      const supervised = await supervise({
        name,
        args: ['--enable-source-maps', ...(isOurs ? clock : []), join(compiled, main)],
        env: {
          NODE_ENV: 'development',
          HOST: '127.0.0.1',
          PORT: `${ports[name]}`,
          CLOCK_FILE: clockFile(name),
          ...env,
        },
        cwd: compiled,
        logFile: join(logDirectory, `${name}.log`),
      })
      running.push(supervised)
      return [name, supervised]
    }
    const started_ = Object.fromEntries(await Promise.all(processes.map(start))) as World['processes']

    return {
      ...{ chain, clients, entryPoint, contracts, redis, postgres, bundler, urls, operatorApiKey, logDirectory, stop },
      processes: started_,
      wires: ways,
      setClock: (service, byMs) => writeFile(clockFile(service), `${byMs}`),
      async isReady(process) {
        try {
          const { status, body } = await fetch(`${urls[process]}/ready`, { signal: AbortSignal.timeout(1_000) })
          await body?.cancel()
          return status === 200
        } catch {
          return false
        }
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}
