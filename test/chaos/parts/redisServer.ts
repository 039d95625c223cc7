import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createTempDir, freePort, type RunningProcess, readyWhenLogged, startProcess } from '@protocolbanks/stream-dev'

/** A Redis as in a deployment: it writes its commands to disk and syncs them every second. */
export type RedisServer = {
  url: string
  /** One command; its answer as JSON. @throws when Redis does not answer within 5 s */
  command(...args: string[]): Promise<unknown>
  /** Ended, and started again on the same port; with what is on disk, or with nothing. SIGTERM writes all of it first. */
  restart(data: 'kept' | 'lost', signal?: 'SIGKILL' | 'SIGTERM'): Promise<void>
  signal(signal: NodeJS.Signals): void
  stop(): Promise<void>
}

const run = promisify(execFile)

export async function startRedisServer(): Promise<RedisServer> {
  const [directory, port] = await Promise.all([createTempDir('chaos-redis'), freePort()])
  let starts = 0
  async function start(): Promise<RunningProcess> {
    return startProcess({
      name: 'Redis',
      command: 'redis-server',
      args: [
        ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory.path, '--save', ''],
        ...['--appendonly', 'yes', '--appendfsync', 'everysec', '--maxmemory-policy', 'noeviction'],
      ],
      logFile: join(directory.path, `redis-${++starts}.log`),
      ready: readyWhenLogged('Ready to accept connections'),
    })
  }
  let server = await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    async command(...args) {
      const { stdout } = await run('redis-cli', ['-p', `${port}`, '--json', ...args], { timeout: 5_000 })
      return JSON.parse(stdout)
    },
    async restart(data, signal = 'SIGKILL') {
      server.signal(signal)
      await server.exited
      if (data === 'lost') await rm(join(directory.path, 'appendonlydir'), { recursive: true, force: true })
      server = await start()
    },
    signal: (signal) => server.signal(signal),
    async stop() {
      server.signal('SIGCONT')
      await server.stop()
      await directory.remove()
    },
  }
}

/** Where usage events wait for the journal: a stream for each partition in use, under the meter's key prefix. */
export async function listUsageStreams(redis: Pick<RedisServer, 'command'>): Promise<string[]> {
  return (await redis.command('KEYS', 'stream:{p*}:*usage')) as string[]
}
