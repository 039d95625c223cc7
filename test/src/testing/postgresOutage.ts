import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createDb } from '@protocolbanks/stream-db'
import { createTempDir, type Postgres, readyWhenLogged, startProcess } from '@protocolbanks/stream-dev'

/** A running PostgreSQL server that a test may stop and start again, with its data and on its port. */
export type PostgresOutage = {
  /** All clients are disconnected; what was committed is on disk. */
  stop(): Promise<void>
  /** SIGKILL: what was committed is in the write-ahead log, as far as that had left the server's memory. */
  kill(): Promise<void>
  start(): Promise<void>
  /** Ends a server that `start` started. The first one is its starter's to end. */
  end(): Promise<void>
}

const stopMs = 60_000
/** It may have to read its log again. */
const startMs = 120_000

export async function createPostgresOutage({ url }: Pick<Postgres, 'url'>): Promise<PostgresOutage> {
  const data = await dataDirectoryOf(url)
  // What the server was started with, each argument in quotes: the server keeps it for pg_ctl.
  const options = await readFile(join(data, 'postmaster.opts'), 'utf8')
  const [, command = ''] = /^(\S+)/.exec(options) ?? []
  const args = [...options.matchAll(/"([^"]*)"/g)].map(([, arg = '']) => arg)
  const { uid, gid } = await stat(data)
  const port = Number(new URL(url).port)
  const stops: (() => Promise<void>)[] = []
  const end = async () => {
    for (const stop of stops.splice(0).reverse()) await stop()
  }
  const signal = async (which: NodeJS.Signals) => {
    const [pid] = (await readFile(join(data, 'postmaster.pid'), 'utf8')).split('\n')
    process.kill(Number(pid), which)
    const deadline = Date.now() + stopMs
    while (await listens(port)) {
      if (Date.now() > deadline) throw new Error(`PostgreSQL (process ${pid}) did not stop within ${stopMs} ms.`)
      await delay(20)
    }
  }
  return {
    stop: () => signal('SIGINT'),
    kill: () => signal('SIGKILL'),
    async start() {
      await end()
      const log = await createTempDir('postgres-again')
      stops.push(() => log.remove())
      const server = await startProcess({
        name: 'PostgreSQL',
        command,
        args,
        env: { LC_ALL: 'C' },
        ...(process.getuid?.() === 0 ? { user: { uid, gid } } : {}),
        cwd: data,
        logFile: join(log.path, 'postgres.log'),
        ready: readyWhenLogged('database system is ready to accept connections'),
        timeoutMs: startMs,
        stopSignal: 'SIGINT',
      })
      stops.push(() => server.stop())
    },
    end,
  }
}

async function dataDirectoryOf(url: string): Promise<string> {
  const db = createDb({ url, maxConnections: 1, onError: () => {} })
  try {
    return await db.transaction(async (tx) => {
      // The services' role may not see it.
      await tx.execute('set local role none')
      const { rows } = await tx.execute<{ data_directory: string }>('show data_directory')
      return rows[0]?.data_directory ?? ''
    })
  } finally {
    await db.close()
  }
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
