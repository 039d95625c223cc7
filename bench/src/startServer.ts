import { join } from 'node:path'
import {
  compileServices,
  createTempDir,
  freePort,
  readyWhenHttpOk,
  startPostgres,
  startProcess,
  startRedis,
} from '@protocolbanks/stream-dev'
import type { Service } from '@protocolbanks/stream-gateway'
import { readCpu } from './readCpu.ts'
import { serviceOf } from './scenario.ts'

export type BenchServer = {
  url: string
  meter: 'redis' | 'embedded'
  service: Service
  /** Processor time that the server has used, microseconds, with its garbage collector and its compiler. */
  cpuUs(): Promise<number>
  stop(): Promise<void>
}

/**
 * The server under load (server.ts), in a process of its own, with a Postgres and a Redis of its own. It is compiled, as services
 * are in an image: with a loader of TypeScript every function is given its name again each time it is made, an eighth of a paid call.
 */
export async function startServer(grants = 1, nodeOptions: readonly string[] = []): Promise<BenchServer> {
  const [postgres, redis, directory, port] = await Promise.all([
    startPostgres(),
    startRedis(),
    createTempDir('bench'),
    freePort(),
  ])
  const stops = [directory.remove, postgres.stop, async () => redis?.stop()]
  const stop = async () => {
    for (const one of stops.splice(0).reverse()) await one()
  }
  try {
    const url = `http://127.0.0.1:${port}`
    const compiled = join(directory.path, 'compiled')
    await compileServices(compiled, ['bench/src'])
    const server = await startProcess({
      name: 'bench server',
      command: process.execPath,
      args: [...nodeOptions, join(compiled, 'bench', 'src', 'server.js')],
      env: {
        DATABASE_URL: postgres.url,
        PORT: `${port}`,
        NODE_ENV: 'production',
        GRANTS: `${grants}`,
        ...(redis && { REDIS_URL: redis.url }),
        ...(process.env.SIGN_RECEIPTS && { SIGN_RECEIPTS: process.env.SIGN_RECEIPTS }),
      },
      logFile: join(directory.path, 'server.log'),
      ready: readyWhenHttpOk(`${url}/ready`),
      // Thousands of grants are written first.
      timeoutMs: 600_000,
      // A profile is written at the end.
      stopTimeoutMs: 30_000,
    })
    stops.push(server.stop)
    const { id, merchantId } = (await (await fetch(`${url}/service`)).json()) as { id: string; merchantId: string }
    return {
      url,
      meter: redis ? 'redis' : 'embedded',
      service: serviceOf(id, merchantId),
      cpuUs: () => readCpu(url),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
