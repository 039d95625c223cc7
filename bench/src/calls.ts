import { type Load, load } from './load.ts'
import { machine } from './machine.ts'
import { median } from './median.ts'
import { signPayments } from './scenario.ts'
import { startServer } from './startServer.ts'

// The same route free and paid, on one process, vouchers signed beforehand.

const rounds = 3
const settings = [
  { connections: 1, amount: 4_000 },
  { connections: 64, amount: 20_000 },
]
/** Until the journal has what was charged: that is work for a paid call too. */
const settleMs = 500

type Figures = Load & { cpuUs: number }

/** Prints the table, and answers with the figures. */
export async function benchCalls(): Promise<object> {
  const report = await measure()
  console.log(`\n${machine()}\nmedians of ${rounds} rounds; meter: ${report.meter}\n`)
  console.table(
    report.results.flatMap(({ connections, free, paid, ratio, addedMs }) => [
      { connections, route: 'free', ...free },
      { connections, route: 'paid', ...paid, ratio, addedMs },
    ]),
  )
  return { machine: machine(), ...report }
}

async function measure() {
  const server = await startServer()
  try {
    const { url, service, meter } = server
    let signed = 0
    const sign = (amount: number) => {
      const payments = signPayments(service, signed, amount)
      signed += amount
      return payments
    }
    const measured = async (setting: { connections: number; amount: number; headers?: string[]; path: string }) => {
      const before = await server.cpuUs()
      const figures = await load({ url: `${url}${setting.path}`, ...setting })
      await new Promise((resolve) => setTimeout(resolve, settleMs))
      return { ...figures, cpuUs: Math.round(((await server.cpuUs()) - before) / setting.amount) }
    }
    // Compiled and connected before anything counts.
    await load({ url: `${url}/free`, connections: 64, amount: 5_000 })
    await load({ url: `${url}/paid`, connections: 64, amount: 5_000, headers: sign(5_000) })

    const results = []
    for (const setting of settings) {
      const free: Figures[] = []
      const paid: Figures[] = []
      for (let round = 0; round < rounds; round++) {
        const headers = sign(setting.amount)
        free.push(await measured({ ...setting, path: '/free' }))
        paid.push(await measured({ ...setting, path: '/paid', headers }))
      }
      const [medianFree, medianPaid] = [median(free), median(paid)]
      const ratio = Number((medianPaid.requestsPerSecond / medianFree.requestsPerSecond).toFixed(3))
      const addedMs = Number((medianPaid.p50Ms - medianFree.p50Ms).toFixed(3))
      results.push({ connections: setting.connections, free: medianFree, paid: medianPaid, ratio, addedMs })
    }
    const busiest = results.at(-1)
    if (!busiest) throw new Error('nothing was measured')
    const { free, paid, ratio } = busiest
    return { meter, free, paid, ratio, results }
  } finally {
    await server.stop()
  }
}
