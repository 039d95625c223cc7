import { spawn } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  createChainClients,
  createTempDir,
  deployEntryPoint,
  devAccounts,
  freePort,
  type RunningProcess,
  readyWhenHttpOk,
  readyWhenLogged,
  type Service,
  type Stack,
  setUpContracts,
  startAnvil,
  startBundler,
  startProcess,
} from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ComposeFile, environmentOf, exampleEnv, readCompose } from './testing/composeFile.ts'
import { giveBudget } from './testing/giveBudget.ts'
import { makeSecrets } from './testing/makeSecrets.ts'
import { openShop, priceAtomic } from './testing/openShop.ts'
import { type Cluster, createPostgresHome } from './testing/postgresCluster.ts'
import { readinessOf } from './testing/readinessOf.ts'
import { type Replayed, replayDockerfile } from './testing/replayDockerfile.ts'
import { settleAll } from './testing/settleAll.ts'
import { startTraffic } from './testing/startTraffic.ts'

// The deployment of compose.yaml without a container engine: what the Dockerfile copies and builds, started with the
// commands, the environment, the secrets and the configuration of compose.yaml, on real Postgres, Redis, chain and bundler.
// Only where things are differs: a container's name and port are 127.0.0.1 and a free port here, /run/secrets a folder.

const root = fileURLToPath(new URL('../../', import.meta.url))
const names = ['paymaster', 'settlement', 'gateway-1', 'gateway-2', 'sentinel'] as const
type Name = (typeof names)[number]

const removals: (() => Promise<void>)[] = []
let folder: string
let secrets: string
let image: Replayed
let compose: ComposeFile
let env: Record<string, string>
let stack: Stack
/** Where each container's port is on this machine, by `name:port`. */
const places = new Map<string, number>()
const processes = new Map<Name, RunningProcess>()

beforeAll(async () => {
  const directory = await createTempDir('containers')
  removals.push(directory.remove)
  folder = directory.path
  secrets = join(folder, 'secrets')
  image = await replayDockerfile(root, join(folder, 'image'))

  // Settlements wait for confirmations: blocks come whether there are transactions or not.
  const timing = { blockTimeSeconds: 1 }
  const chain = await startAnvil(timing)
  removals.push(() => chain.stop())
  const clients = createChainClients(chain.url, devAccounts.operator.account)
  const entryPoint = await deployEntryPoint(clients)
  const contracts = await setUpContracts(clients, entryPoint)
  const bundler = await startBundler({ rpcUrl: chain.url, entryPoint, ...timing })
  removals.push(() => bundler.stop())

  env = await exampleEnv({
    CHAIN_ID: `${chain.chainId}`,
    ENTRY_POINT: entryPoint,
    SESSION_MODULE: contracts.sessionKeyValidator,
    TOKEN: contracts.testUsdc,
    SPONSOR_PAYMASTER: contracts.sponsorPaymaster,
    ACCOUNT_FACTORY: contracts.streamAccountFactory,
    ACCOUNT_DELEGATE: contracts.streamAccount7702Implementation,
    START_BLOCK: '0',
    SETTLER_ADDRESS: devAccounts.settler.address,
  })
  compose = (await readCompose(env)).file
  await makeSecrets(secrets, {
    rpc_url: chain.url,
    bundler_url: bundler.url,
    settler_key: devAccounts.settler.privateKey,
    paymaster_signer_key: devAccounts.paymasterSigner.privateKey,
    guardian_key: devAccounts.guardian.privateKey,
  })
  const cluster = await startPostgres()
  const redis = await startRedis()
  for (const name of names) places.set(`${name}:8080`, await freePort())
  for (const secret of ['database_url', 'redis_url']) {
    await writeFile(join(secrets, secret), here(await secretOf(secret)))
  }

  const logDirectory = join(folder, 'logs')
  await mkdir(logDirectory)
  // In the order of depends_on; each waits for what it stands on by itself as well.
  for (const name of names) await start(name, logDirectory)
  stack = {
    chain,
    clients,
    entryPoint,
    contracts,
    safes: undefined,
    bundler,
    postgres: { url: cluster.adminUrl, stop: cluster.stop },
    databaseUrl: cluster.url,
    redis,
    gateway: serviceOf('gateway-1'),
    paymaster: serviceOf('paymaster'),
    settlement: serviceOf('settlement'),
    operatorApiKey: await secretOf('operator_api_key'),
    accounts: devAccounts,
    logDirectory,
    stop: async () => {},
  } as Stack
}, 900_000)
afterAll(async () => {
  for (const process of processes.values()) await process.stop()
  for (const remove of removals.reverse()) await remove()
}, 240_000)

test('each service is ready, by the check of its container too, within the memory that it gets', async () => {
  for (const name of names) {
    await expect.poll(() => readinessOf(serviceOf(name)), { message: name }).toEqual({ status: 200, failing: [] })
    const [command = '', ...args] = image.image.healthcheck
    const check = await run(
      inImage(command),
      args.map((argument) => here(inImage(argument), name)),
    )
    expect(check.code, check.output).toBe(0)
    const status = await readFile(`/proc/${processes.get(name)?.pid}/status`, 'utf8')
    const usedMiB = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_024
    expect(usedMiB).toBeGreaterThan(10)
    expect(usedMiB).toBeLessThan(mebibytes(compose.services[name]?.deploy?.resources.limits.memory ?? ''))
  }
}, 480_000)

test('a container whose service does not answer is unhealthy', async () => {
  const [command = '', ...args] = image.image.healthcheck
  const nobody = await freePort()
  const check = await run(
    command,
    args.map((argument) => inImage(argument).replace(':8080', `:${nobody}`)),
  )
  expect(check).toMatchObject({ code: 1, output: expect.stringContaining('ECONNREFUSED') })
})

test('calls are paid through both gateways, settled on the chain, and the image has the operator’s command for it', async () => {
  const shop = await openShop(stack, 'shop')
  removals.push(shop.stop)
  const budget = await giveBudget(stack, shop)
  const first = startTraffic(shop, budget)
  await first.untilServed(10)
  await first.stop()
  const other = { ...shop, url: shop.url.replace(stack.gateway.url, serviceOf('gateway-2').url) }
  const second = startTraffic(other, budget)
  await second.untilServed(10)
  await second.stop()
  expect([...first.surprises, ...second.surprises]).toEqual([])
  const calls = first.served() + second.served()
  const amount = BigInt(calls) * priceAtomic
  expect(await settleAll(stack, shop, budget, amount)).toEqual({
    live: amount,
    charged: amount,
    settled: amount,
    received: amount,
    calls,
  })

  const { entrypoint = [] } = compose.services.pb ?? {}
  const [command = '', ...args] = entrypoint.map((word) => here(inImage(word)))
  const listed = await run(command, [...args, 'settlements', 'list', '--state', 'all'], { PB_URL: stack.gateway.url })
  expect(listed).toMatchObject({ code: 0, output: expect.stringContaining(budget.grantId.slice(0, 10)) })
  const reconciled = await run(command, [...args, 'reconcile'], { PB_URL: stack.gateway.url })
  expect(reconciled).toMatchObject({ code: 0, output: expect.stringContaining('The books agree.') })
}, 600_000)

test('a program that is not in the image is named, with those that are', async () => {
  expect(await run(join(image.root, 'app', 'stream'), ['other'])).toMatchObject({
    code: 64,
    output: expect.stringContaining(
      "no program 'other' here. There are: gateway, settlement, paymaster, sentinel, pb.",
    ),
  })
})

test('SIGTERM ends each service with 0 within its stop_grace_period', async () => {
  for (const name of names.toReversed()) {
    const process = processes.get(name)
    const [, seconds = ''] = /^(\d+)s$/.exec(compose.services[name]?.stop_grace_period ?? '') ?? []
    const startedAt = Date.now()
    process?.signal('SIGTERM')
    expect({ name, exit: await process?.exited }).toEqual({ name, exit: { code: 0, signal: null } })
    expect(Date.now() - startedAt).toBeLessThan(Number(seconds) * 1_000)
  }
}, 480_000)

/** `text` of a container on this machine: its secrets, and what the names and ports of containers are here. */
function here(text: string, self?: Name): string {
  let result = text.replaceAll('/run/secrets', secrets)
  for (const [place, port] of places) result = result.replaceAll(place, `127.0.0.1:${port}`)
  return self ? result.replace('127.0.0.1:8080', `127.0.0.1:${places.get(`${self}:8080`)}`) : result
}

/** A path of the image on this machine. */
function inImage(path: string): string {
  return path.startsWith('/app/') ? join(image.root, path) : path
}

function serviceOf(name: Name): Service {
  const process = processes.get(name)
  if (!process) throw new Error(`${name} does not run.`)
  return { url: `http://127.0.0.1:${places.get(`${name}:8080`)}`, process, stop: process.stop }
}

async function secretOf(name: string): Promise<string> {
  return (await readFile(join(secrets, name), 'utf8')).trim()
}

async function start(name: Name, logDirectory: string): Promise<void> {
  const service = compose.services[name] ?? {}
  const given = { ...image.image.env, ...environmentOf(service, env) }
  const local = Object.entries(given).map(([key, value]) => [key, here(value)])
  const port = places.get(`${name}:8080`)
  const [entrypoint = ''] = image.image.entrypoint
  const started = await startProcess({
    name,
    command: inImage(entrypoint),
    args: service.command ?? [],
    env: { ...Object.fromEntries(local), PORT: `${port}` },
    cwd: folder,
    logFile: join(logDirectory, `${name}.log`),
    ready: readyWhenHttpOk(`http://127.0.0.1:${port}/ready`),
    timeoutMs: 120_000,
    stopTimeoutMs: 30_000,
  })
  processes.set(name, started)
}

/** Set up and started as the container is. */
async function startPostgres(): Promise<Cluster> {
  const settings = compose.services.postgres?.command?.filter((argument) => argument.includes('=')) ?? []
  const home = await createPostgresHome({ settings, secrets })
  removals.push(home.remove)
  const cluster = await home.create('data')
  places.set('postgres:5432', cluster.port)
  return cluster
}

/** With ops/compose/redis.conf, its folders and its port apart. */
async function startRedis(): Promise<{ url: string; stop(): Promise<void> }> {
  const data = join(folder, 'redis')
  await mkdir(data)
  const port = await freePort()
  places.set('redis:6379', port)
  const conf = join(folder, 'redis.conf')
  const text = await readFile(join(root, 'ops', 'compose', 'redis.conf'), 'utf8')
  await writeFile(conf, here(text).replace('dir /data', `dir ${data}`).replace('port 6379', `port ${port}`))
  const server = await startProcess({
    name: 'Redis',
    command: 'redis-server',
    args: [conf],
    cwd: data,
    logFile: join(folder, 'redis.log'),
    ready: readyWhenLogged('Ready to accept connections'),
  })
  removals.push(() => server.stop())
  return { url: here(await secretOf('redis_url')), stop: () => server.stop() }
}

type Result = { code: number | null; output: string }

/** Runs a program of the image to its end; any code is an answer. */
async function run(
  command: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<Result> {
  const { PATH = '' } = process.env
  const child = spawn(command, args, {
    env: { PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 120_000,
  })
  const result: Result = { code: null, output: '' }
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      result.output += chunk.toString()
    })
  }
  return new Promise((done, fail) => {
    child.on('error', fail)
    child.on('close', (code) => done({ ...result, code }))
  })
}

function mebibytes(text: string): number {
  const [, count = '', unit] = /^(\d+)([MG])$/.exec(text) ?? []
  return Number(count) * (unit === 'G' ? 1_024 : 1)
}
