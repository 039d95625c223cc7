import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'

/** A Redis server of one test alone, that the test may stop, start again and freeze. */
export type TestRedis = {
  url: string
  port: number
  start(): Promise<void>
  /** SIGKILL: what was not on disk is gone. */
  kill(): Promise<void>
  /** Kills it and removes its directory. */
  remove(): Promise<void>
}

/** @param args More arguments of redis-server, e.g. `['--appendonly', 'yes']`. */
export async function startTestRedis(args: string[] = []): Promise<TestRedis> {
  const [directory, port] = await Promise.all([mkdtemp(join(tmpdir(), 'meter-redis-')), freePort()])
  const url = `redis://127.0.0.1:${port}`
  let server: ChildProcess | undefined

  async function start() {
    const common = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', '']
    server = spawn('redis-server', [...common, ...args], { stdio: 'ignore' })
    await answers(url)
  }

  async function kill() {
    if (!server || server.exitCode !== null || server.signalCode !== null) return
    const exited = once(server, 'exit')
    server.kill('SIGKILL')
    await exited
  }

  await start()
  return {
    url,
    port,
    start,
    kill,
    async remove() {
      await kill()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function answers(url: string) {
  const client = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: 3_000 })
  client.on('error', () => {})
  await client.ping()
  client.disconnect()
}

async function freePort(): Promise<number> {
  // A cluster node listens on its port + 10000 too, so it must be below 55536.
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    server.close()
    await once(server, 'close')
    if (address && typeof address === 'object' && address.port < 55_536) return address.port
  }
  throw new Error('No free port below 55536 in 100 attempts.')
}
