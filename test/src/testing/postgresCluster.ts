import { execFile } from 'node:child_process'
import { cp, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createTempDir, freePort, type RunningProcess, readyWhenLogged, startProcess } from '@protocolbanks/stream-dev'
import { postgresPrograms } from './postgresPrograms.ts'

const execute = promisify(execFile)
const root = fileURLToPath(new URL('../../../', import.meta.url))
const runTimeoutMs = 120_000

/** PostgreSQL 18 as the deployment has it: its programs, the scripts of db/script, and clusters made as compose.yaml says. */
export type PostgresHome = {
  /** Everything is below it. */
  folder: string
  /** Where backups and the archive of the write-ahead log go; /backup in compose.yaml. */
  backups: string
  /** A new cluster in `folder/name`, set up by ops/compose/postgres/10-stream.sh. On a free port, if none is given. */
  create(name: string, port?: number): Promise<Cluster>
  /** Starts what `recover.sh` made of `folder/name`. */
  start(name: string, port?: number): Promise<Cluster>
  /** A script of db/script or a program of PostgreSQL, as the user of the clusters. @returns what it printed, trimmed */
  run(command: string, args: readonly string[], env?: Record<string, string>): Promise<string>
  remove(): Promise<void>
}

export type Cluster = {
  /** Data directory. */
  data: string
  port: number
  /** As `stream`, the login of the services: it owns the database `stream` and is no superuser. */
  url: string
  /** As the superuser, for the database `postgres`. */
  adminUrl: string
  /** libpq's environment of each login. */
  as(login: 'stream' | 'stream_backup' | 'postgres'): Record<string, string>
  /** Everything committed is in the archive afterwards. */
  stop(): Promise<void>
  /** Like a machine that is gone. */
  kill(): Promise<void>
}

/**
 * @param settings of each cluster, `name=value`, with /backup and /script of the container for the folders of this one
 * @param secrets folder with the passwords, as make-secrets.sh writes them
 */
export async function createPostgresHome(p: { settings: readonly string[]; secrets: string }): Promise<PostgresHome> {
  const directory = await createTempDir('postgres-home')
  const folder = directory.path
  const user = await findUser()
  const backups = join(folder, 'backup')
  const scripts = join(folder, 'script')
  const programs = join(folder, 'programs')
  const bin = join(programs, 'embedded_postgres', 'pginstall', 'bin')
  const secrets = join(folder, 'secrets')
  // Copies, because another user could not read them where they are.
  await cp(await postgresPrograms(), programs, { recursive: true, verbatimSymlinks: true })
  await cp(join(root, 'db', 'script'), scripts, { recursive: true })
  await cp(p.secrets, secrets, { recursive: true })
  await cp(join(root, 'ops', 'compose', 'postgres', '10-stream.sh'), join(scripts, '10-stream.sh'))
  for (const name of ['wal', 'base', 'dump']) await mkdir(join(backups, name), { recursive: true })
  if (user) await execute('chown', ['--recursive', `${user.uid}:${user.gid}`, folder])

  const settings = p.settings.map((setting) =>
    setting.replaceAll('/backup/', `${backups}/`).replaceAll('/script/', `${scripts}/`),
  )
  const servers: RunningProcess[] = []
  const path = `${bin}:${scripts}:/usr/bin:/bin`

  async function run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
    const options = { ...user, cwd: folder, env: { PATH: path, LC_ALL: 'C', ...env }, timeout: runTimeoutMs }
    const { stdout } = await execute(command, [...args], { ...options, maxBuffer: 64 * 1024 * 1024 })
    return stdout.trim()
  }

  async function serve(name: string, givenPort?: number): Promise<Cluster> {
    const data = join(folder, name)
    const port = givenPort ?? (await freePort())
    const own = [`port=${port}`, 'listen_addresses=127.0.0.1', `unix_socket_directories=${data}`]
    const server = await startProcess({
      name: `PostgreSQL (${name})`,
      command: join(bin, 'postgres'),
      args: ['-D', data, ...[...settings, ...own].flatMap((setting) => ['-c', setting])],
      env: { PATH: path, LC_ALL: 'C' },
      cwd: folder,
      ...(user ? { user } : {}),
      logFile: join(folder, `${name}.log`),
      ready: readyWhenLogged('database system is ready to accept connections'),
      timeoutMs: 120_000,
      // "Fast shutdown", as the postgres image is stopped.
      stopSignal: 'SIGINT',
      stopTimeoutMs: 60_000,
    })
    servers.push(server)
    const password = async (file: string) => (await readFile(join(secrets, file), 'utf8')).trim()
    const passwords = {
      stream: await password('database_password'),
      stream_backup: await password('backup_password'),
      postgres: await password('postgres_password'),
    }
    return {
      data,
      port,
      url: `postgres://stream:${passwords.stream}@127.0.0.1:${port}/stream`,
      adminUrl: `postgres://postgres:${passwords.postgres}@127.0.0.1:${port}/postgres`,
      as: (login) => ({
        PGHOST: '127.0.0.1',
        PGPORT: `${port}`,
        PGUSER: login,
        PGDATABASE: login === 'postgres' ? 'postgres' : 'stream',
        PGPASSWORD: passwords[login],
      }),
      stop: () => server.stop(),
      async kill() {
        server.signal('SIGKILL')
        await server.exited
      },
    }
  }

  return {
    folder,
    backups,
    run,
    async create(name, port) {
      const data = join(folder, name)
      const options = ['--encoding=UTF8', '--locale=C', '--auth-host=scram-sha-256', '--data-checksums', '--no-sync']
      const password = `--pwfile=${join(secrets, 'postgres_password')}`
      await run('initdb', [`--pgdata=${data}`, '--username=postgres', password, ...options])
      const cluster = await serve(name, port)
      await run('10-stream.sh', [], { ...cluster.as('postgres'), PGDATA: data, SECRETS: secrets })
      await run('psql', ['--command=SELECT pg_reload_conf()'], cluster.as('postgres'))
      return cluster
    },
    start: serve,
    async remove() {
      for (const server of servers.splice(0).reverse()) await server.stop()
      await directory.remove()
    },
  }
}

/** The user to run as, or undefined when we are not root, as whom PostgreSQL refuses to run. */
async function findUser(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const entries = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const entry = entries.find(([name]) => name === 'postgres') ?? entries.find(([name]) => name === 'nobody')
  if (!entry) throw new Error('PostgreSQL does not run as root, and there is no user postgres or nobody.')
  return { uid: Number(entry[2]), gid: Number(entry[3]) }
}
