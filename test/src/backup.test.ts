import { basename, join } from 'node:path'
import {
  createTempDir,
  devAccounts,
  type Service,
  type Stack,
  startService,
  startStack,
} from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exampleEnv, readCompose } from './testing/composeFile.ts'
import { type DurableRedis, startDurableRedis } from './testing/durableRedis.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { anySecrets, makeSecrets } from './testing/makeSecrets.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { type Cluster, createPostgresHome, type PostgresHome } from './testing/postgresCluster.ts'
import { readinessOf } from './testing/readinessOf.ts'
import { runPb } from './testing/runPb.ts'
import { readBooks, settleAll } from './testing/settleAll.ts'
import { startGateway } from './testing/startGateway.ts'
import { startTraffic, type Traffic } from './testing/startTraffic.ts'

// The scripts of db/script, on PostgreSQL set up as compose.yaml says, under real services with real traffic: the
// services' login is no superuser, the backup's reads everything and writes nothing. The tests follow each other.

const timeout = 600_000
const soon = { timeout: 120_000, interval: 200 }

let home: PostgresHome
let cluster: Cluster
let redis: DurableRedis
let stack: Stack
let shop: Shop
let budget: Budget
const services: Service[] = []
const removals: (() => Promise<void>)[] = []

beforeAll(async () => {
  const secrets = await createTempDir('secrets')
  removals.push(secrets.remove)
  await makeSecrets(secrets.path, anySecrets)
  const { file } = await readCompose(await exampleEnv())
  const settings = file.services.postgres?.command?.filter((argument) => argument.includes('=')) ?? []
  home = await createPostgresHome({ settings, secrets: secrets.path })
  removals.push(home.remove)
  cluster = await home.create('first')
  redis = await startDurableRedis()
  removals.push(redis.remove)
  stack = await startStack({
    withRedis: false,
    env: {
      gateway: { DATABASE_URL: cluster.url, REDIS_URL: redis.url },
      settlement: { DATABASE_URL: cluster.url },
      paymaster: { DATABASE_URL: cluster.url },
    },
  })
  removals.push(stack.stop)
  shop = await openShop(stack, 'shop')
  removals.push(shop.stop)
  budget = await giveBudget(stack, shop)
}, timeout)
afterAll(async () => {
  for (const service of services.splice(0).reverse()) await service.stop()
  for (const remove of removals.reverse()) await remove()
}, 240_000)

/** Paid calls, until `calls` more were served; every one of them is in the journal afterwards. */
async function pay(calls: number, meanwhile?: () => Promise<void>): Promise<Traffic> {
  const traffic = startTraffic(shop, budget)
  await traffic.untilServed(calls)
  await meanwhile?.()
  await traffic.stop()
  expect(traffic.surprises).toEqual([])
  return traffic
}

function books() {
  return readBooks(stack, shop, budget)
}

const backupFolder = (name: 'wal' | 'base' | 'dump') => join(home.backups, name)

test('the login of backups reads what row-level security hides, and writes nothing; that of the services cannot dump', async () => {
  const count = ['--tuples-only', '--no-align', '--command=SELECT count(*) FROM merchant']
  expect(await home.run('psql', count, cluster.as('stream_backup'))).toBe('1')
  const write = ['--set=ON_ERROR_STOP=1', "--command=UPDATE merchant SET name = 'other'"]
  await expect(home.run('psql', write, cluster.as('stream_backup'))).rejects.toThrow(/permission denied/)
  await expect(home.run('dump.sh', [backupFolder('dump')], cluster.as('stream'))).rejects.toThrow(/row-level security/)
})

let copy: string
let beforeMistake: { charges: string; time: string }
test('when the machine of Postgres is lost, a base backup and the archive bring back every charge, and services that never stopped go on', {
  timeout,
}, async () => {
  const traffic = await pay(50, async () => {
    copy = await home.run('base-backup.sh', [backupFolder('base'), backupFolder('wal')], cluster.as('stream_backup'))
  })
  const after = await pay(50)
  const served = BigInt(traffic.served() + after.served())
  await expect.poll(async () => (await books()).charged, soon).toBe(served * priceAtomic)
  const settledBefore = await settleAll(stack, shop, budget, served * priceAtomic)
  expect(settledBefore).toMatchObject({ received: served * priceAtomic, calls: Number(served) })
  const unsettled = await pay(20)
  const calls = served + BigInt(unsettled.served())
  await expect.poll(async () => (await books()).charged, soon).toBe(calls * priceAtomic)

  await archiveEverything(cluster)
  await cluster.kill()
  await expect.poll(() => readinessOf(stack.gateway), soon).toMatchObject({ status: 503 })
  await home.run('recover.sh', [copy, join(home.folder, 'second'), backupFolder('wal')])
  cluster = await home.start('second', cluster.port)

  for (const service of [stack.gateway, stack.settlement, stack.paymaster]) {
    await expect.poll(() => readinessOf(service), soon).toEqual({ status: 200, failing: [] })
  }
  expect(await books()).toMatchObject({ charged: calls * priceAtomic, calls: Number(calls) })
  const again = await pay(20)
  const total = (calls + BigInt(again.served())) * priceAtomic
  await expect.poll(async () => (await books()).charged, soon).toBe(total)
  expect(await settleAll(stack, shop, budget, total)).toMatchObject({ live: total, settled: total, received: total })
  expect(await reconcile()).toMatchObject({ code: 0, stdout: expect.stringContaining('The books agree.') })
  beforeMistake = {
    charges: await ask(cluster, 'SELECT count(*) FROM charge'),
    time: await ask(cluster, 'SELECT now()'),
  }
})

test('a dump under live traffic restores whole into an empty cluster: same schema, rights and policies', {
  timeout,
}, async () => {
  let dump = ''
  const traffic = await pay(30, async () => {
    dump = await home.run('dump.sh', [backupFolder('dump')], cluster.as('stream_backup'))
  })
  expect(traffic.served()).toBeGreaterThanOrEqual(30)
  // Paid after the dump, and settled: the restored books know nothing of it, the chain does.
  await pay(30)
  await expect.poll(async () => (await books()).calls, soon).toBe(shop.calls.length)
  const charged = BigInt(shop.calls.length) * priceAtomic
  const { received } = await settleAll(stack, shop, budget, charged)
  expect(received).toBe(charged)
  const schemaOf = (which: Cluster) =>
    home.run('pg_dump', ['--schema-only', '--restrict-key=none'], which.as('stream_backup'))
  const schema = await schemaOf(cluster)

  // As the runbook says: services stop, copies and archive of the lost cluster are moved away, Redis forgets.
  for (const service of [stack.gateway, stack.settlement, stack.paymaster]) await service.stop()
  await archiveEverything(cluster)
  await cluster.kill()
  await home.run('bash', ['-c', `cd ${home.backups} && mkdir before && mv wal base before && mkdir wal base`])
  await redis.kill()
  await redis.forget()
  cluster = await home.create('third', cluster.port)
  expect(await home.run('restore.sh', [dump], cluster.as('stream'))).toMatch(/^\d+ charges, the newest of 20/)
  expect(await schemaOf(cluster)).toBe(schema)
  await expect(home.run('restore.sh', [dump], cluster.as('stream'))).rejects.toThrow(/Restore into an empty one/)
  await redis.start()
  await startServices()

  // The indexer catches up with what the chain paid since; nothing of it is paid again.
  await expect.poll(async () => (await books()).settled, soon).toBe(received)
  const restored = await books()
  expect(restored.charged).toBeLessThan(received)
  expect(await manage(stack, shop.apiKey, 'POST /settlements', { grantId: budget.grantId })).toMatchObject({
    status: 409,
    body: { code: 'settlement.nothing_due' },
  })
  // What was charged after the dump is gone, and the report says how much of it was paid for: settled above charged.
  const report = await reconcile()
  expect(report).toMatchObject({ code: 0, stderr: '' })
  expect(report.stdout).toMatch(new RegExp(`^charged +${restored.charged}$`, 'm'))
  expect(report.stdout).toMatch(new RegExp(`^settled +${received}$`, 'm'))
  expect((await books()).received).toBe(received)

  // The next calls are counted against it; from there on the merchant is paid as before, each call once.
  const missing = Number((received - restored.charged) / priceAtomic)
  const again = await pay(missing + 30)
  const total = restored.charged + BigInt(again.served()) * priceAtomic
  await expect.poll(async () => (await books()).charged, soon).toBe(total)
  expect(await settleAll(stack, shop, budget, total)).toMatchObject({ settled: total, received: total })
})

test('the cluster as it was at a moment can be had from the same base backup, also after it was recovered once', {
  timeout,
}, async () => {
  const before = join(home.backups, 'before')
  const from = [join(before, 'base', basename(copy)), join(home.folder, 'fourth'), join(before, 'wal')]
  await home.run('recover.sh', [...from, beforeMistake.time])
  const then = await home.start('fourth')
  expect(await ask(then, 'SELECT count(*) FROM charge')).toBe(beforeMistake.charges)
  await expect(home.run('recover.sh', from)).rejects.toThrow(/is not empty/)
})

test('only as many copies and dumps are kept as asked for, and of the archive what the oldest copy needs', {
  timeout,
}, async () => {
  const list = async (name: 'wal' | 'base' | 'dump') => (await home.run('ls', [backupFolder(name)])).split('\n')
  const env = { ...cluster.as('stream_backup'), KEEP: '1' }
  const first = await home.run('base-backup.sh', [backupFolder('base'), backupFolder('wal')], env)
  const [oldest = ''] = await list('wal')
  await archiveEverything(cluster)
  const second = await home.run('base-backup.sh', [backupFolder('base'), backupFolder('wal')], env)
  expect(second > first).toBe(true)
  expect(await list('base')).toEqual([basename(second)])
  expect(await list('wal')).not.toContain(oldest)

  const dump = await home.run('dump.sh', [backupFolder('dump')], env)
  expect(await list('dump')).toEqual([basename(dump)])
})

test('an archive takes a segment once, and refuses another of its name', async () => {
  const archive = join(home.folder, 'archive')
  const segment = join(home.folder, 'segment')
  await home.run('mkdir', [archive])
  await home.run('cp', ['/etc/hostname', segment])
  const name = '0'.repeat(24)
  await home.run('archive-wal.sh', [segment, name, archive])
  await home.run('archive-wal.sh', [segment, name, archive])
  await expect(home.run('archive-wal.sh', ['/etc/passwd', name, archive])).rejects.toThrow(/another segment/)
  expect(await home.run('cmp', [segment, join(archive, name)])).toBe('')
})

/** One value, as the superuser. */
async function ask(which: Cluster, text: string): Promise<string> {
  const options = ['--no-psqlrc', '--tuples-only', '--no-align', '--dbname=stream', `--command=${text}`]
  return home.run('psql', options, which.as('postgres'))
}

async function reconcile() {
  return runPb(['reconcile'], { PB_URL: stack.gateway.url, PB_KEY: stack.operatorApiKey })
}

/** Waits until the write-ahead log of everything up to now is in the archive; a minute at most, without this. */
async function archiveEverything(which: Cluster): Promise<void> {
  const segment = await ask(which, 'SELECT pg_walfile_name(pg_switch_wal())')
  // Another may be archived before anybody looks.
  const archived = `SELECT coalesce(substr(last_archived_wal, 1, 24), '') >= '${segment}' FROM pg_stat_archiver`
  await expect.poll(() => ask(which, archived), soon).toBe('t')
}

/** What startStack started and the test stopped, on the cluster that is there now. */
async function startServices(): Promise<void> {
  const common = {
    DATABASE_URL: cluster.url,
    RPC_URL: stack.chain.url,
    CHAIN_ID: `${stack.chain.chainId}`,
    SESSION_MODULE: stack.contracts.sessionKeyValidator,
    ENTRY_POINT: stack.entryPoint,
    TOKEN: stack.contracts.testUsdc,
    BUNDLER_URL: stack.bundler.url,
  }
  const options = (service: Service) => ({
    logDirectory: stack.logDirectory,
    port: Number(new URL(service.url).port),
  })
  services.push(await startGateway(stack, { DATABASE_URL: cluster.url, REDIS_URL: redis.url }))
  services.push(
    await startService('paymaster', {
      ...options(stack.paymaster),
      env: {
        ...common,
        OPERATOR_API_KEY: stack.operatorApiKey,
        SPONSOR_PAYMASTER: stack.contracts.sponsorPaymaster,
        PAYMASTER_SIGNER_KEY: devAccounts.paymasterSigner.privateKey,
        ACCOUNT_FACTORY: stack.contracts.streamAccountFactory,
      },
    }),
  )
  services.push(
    await startService('settlement', {
      ...options(stack.settlement),
      env: {
        ...common,
        PAYMASTER_URL: stack.paymaster.url,
        PAYMASTER_API_KEY: stack.operatorApiKey,
        SETTLER_KEY: devAccounts.settler.privateKey,
        POLL_MS: '250',
        CONFIRMATIONS: '1',
      },
    }),
  )
}
