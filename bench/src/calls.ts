import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  createTempDir,
  freePort,
  readyWhenHttpOk,
  startPostgres,
  startProcess,
  startRedis,
} from '@protocolbanks/stream-dev'
import { type Load, load } from './load.ts'
import { machine } from './machine.ts'
import { serviceOf, signPayments } from './scenario.ts'

// The same route free and paid, on one process, vouchers signed beforehand.

const rounds = 3
const settings = [
  { connections: 1, amount: 4_000 },
  { connections: 64, amount: 20_000 },
]

const stops: (() => Promise<void>)[] = []

/** Prints the table, and answers with the figures. */
export async function benchCalls(): Promise<object> {
  try {
    const report = await measure()
    console.log(`\n${machine()}\nmedians of ${rounds} rounds; meter: ${report.meter}\n`)
    console.table(
      report.results.flatMap(({ connections, free, paid, ratio }) => [
        { connections, route: 'free', ...free },
        { connections, route: 'paid', ...paid, ratio },
      ]),
    )
    return { machine: machine(), ...report }
  } finally {
    for (const stop of stops.reverse()) await stop()
  }
}

async function measure() {
  const [postgres, redis, directory, port] = await Promise.all([
    startPostgres(),
    startRedis(),
    createTempDir('bench'),
    freePort(),
  ])
  stops.push(directory.remove, postgres.stop, async () => redis?.stop())
  const url = `http://127.0.0.1:${port}`
  const server = await startProcess({
    name: 'bench server',
    command: process.execPath,
    args: ['--import', import.meta.resolve('tsx'), join(fileURLToPath(import.meta.url), '..', 'server.ts')],
    env: {
      DATABASE_URL: postgres.url,
      PORT: `${port}`,
      NODE_ENV: 'production',
      ...(redis && { REDIS_URL: redis.url }),
    },
    logFile: join(directory.path, 'server.log'),
    ready: readyWhenHttpOk(`${url}/ready`),
  })
  stops.push(server.stop)
  const { id, merchantId } = (await (await fetch(`${url}/service`)).json()) as { id: string; merchantId: string }

  let signed = 0
  const sign = (amount: number) => {
    const payments = signPayments(serviceOf(id, merchantId), signed, amount)
    signed += amount
    return payments
  }
  // Compiled and connected before anything counts.
  await load({ url: `${url}/free`, connections: 64, amount: 5_000 })
  await load({ url: `${url}/paid`, connections: 64, amount: 5_000, headers: sign(5_000) })

  const results = []
  for (const setting of settings) {
    const free: Load[] = []
    const paid: Load[] = []
    for (let round = 0; round < rounds; round++) {
      const headers = sign(setting.amount)
      free.push(await load({ url: `${url}/free`, ...setting }))
      paid.push(await load({ url: `${url}/paid`, ...setting, headers }))
    }
    const [medianFree, medianPaid] = [median(free), median(paid)]
    const ratio = Number((medianPaid.requestsPerSecond / medianFree.requestsPerSecond).toFixed(3))
    results.push({ connections: setting.connections, free: medianFree, paid: medianPaid, ratio })
  }
  const busiest = results.at(-1)
  if (!busiest) throw new Error('nothing was measured')
  const { free, paid, ratio } = busiest
  return { meter: redis ? 'redis' : 'embedded', free, paid, ratio, results }
}

function median(loads: Load[]): Load {
  const of = (pick: (load: Load) => number) =>
    loads.map(pick).sort((left, right) => left - right)[Math.floor(loads.length / 2)] ?? 0
  return {
    requestsPerSecond: of((one) => one.requestsPerSecond),
    p50Ms: of((one) => one.p50Ms),
    p99Ms: of((one) => one.p99Ms),
  }
}
