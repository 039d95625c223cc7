import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createTempDir, freePort, type RunningProcess, readyWhenLogged, startProcess } from '@protocolbanks/stream-dev'

/** A redis-server of one test that can be killed: what it has then is what it had written to disk. */
export type DurableRedis = {
  url: string
  /** SIGKILL. */
  kill(): Promise<void>
  /** SIGSTOP: connections stay, nothing is answered. */
  pause(): void
  resume(): void
  /** On the same port, with what is on disk. */
  start(): Promise<void>
  /** Removes what is on disk. Only while it does not run. */
  forget(): Promise<void>
  remove(): Promise<void>
}

/**
 * @param keeps `everything`: each command is written to disk before it is answered. `snapshots`: only what SAVE wrote
 */
export async function startDurableRedis({
  keeps = 'everything',
  args = [],
}: {
  keeps?: 'everything' | 'snapshots'
  /** Others of redis-server. */
  args?: readonly string[]
} = {}): Promise<DurableRedis> {
  const [directory, port] = await Promise.all([createTempDir('durable-redis'), freePort()])
  let server: RunningProcess | undefined
  let starts = 0
  const start = async () => {
    server = await startProcess({
      name: 'Redis',
      command: 'redis-server',
      args: [
        ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory.path, '--save', ''],
        // Written before each answer, so that nothing is lost with the process. Not flushed to the disk each time, which a
        // busy machine takes seconds for: only a crash of the whole machine would need it.
        ...(keeps === 'everything' ? ['--appendonly', 'yes', '--appendfsync', 'no'] : []),
        ...args,
      ],
      logFile: join(directory.path, `redis-${++starts}.log`),
      ready: readyWhenLogged('Ready to accept connections'),
    })
  }
  const kill = async () => {
    server?.signal('SIGKILL')
    await server?.exited
  }
  await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    start,
    kill,
    pause: () => server?.signal('SIGSTOP'),
    resume: () => server?.signal('SIGCONT'),
    async forget() {
      await rm(join(directory.path, 'appendonlydir'), { recursive: true, force: true })
      await rm(join(directory.path, 'dump.rdb'), { force: true })
    },
    async remove() {
      await kill()
      await directory.remove()
    },
  }
}
