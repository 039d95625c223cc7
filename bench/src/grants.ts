import { type Load, load } from './load.ts'
import { loadOpened } from './loadOpened.ts'
import { machine } from './machine.ts'
import { signPayments } from './scenario.ts'
import { startServer } from './startServer.ts'

// Many grants in turn over many connections, and many requests of one grant at once: nobody is refused, nothing fails.

const settings = [
  { name: '64 in flight on one grant', grants: 1, connections: 64, amount: 20_000 },
  { name: '1,000 grants in turn', grants: 1_000, connections: 1_000, amount: 20_000 },
  { name: '10,000 grants in turn', grants: 10_000, connections: 1_000, amount: 30_000 },
]

/**
 * Prints the table, and answers with the figures. Vouchers of one grant arrive in random order within what is in flight.
 *
 * @throws when one call was refused or failed
 */
export async function benchGrants(): Promise<object> {
  const results: (Load & { name: string; grants: number; connections: number; refused: 0; cpuUs: number })[] = []
  for (const { name, grants, connections, amount } of settings) {
    const server = await startServer(grants)
    try {
      const { url, service } = server
      // Every grant is known to the meter before the clock runs.
      const first = Math.max(grants, 2_000)
      await load({
        url: `${url}/paid`,
        connections: 64,
        amount: first,
        headers: signPayments(service, 0, first, grants),
      })
      const headers = shuffled(signPayments(service, first, amount, grants), connections)
      const before = await server.cpuUs()
      const figures = await loadOpened({ url: `${url}/paid`, freeUrl: `${url}/free`, connections, headers })
      const cpuUs = Math.round(((await server.cpuUs()) - before) / amount)
      // `loadOpened` throws for anything but 200.
      results.push({ name, grants, connections, ...figures, refused: 0, cpuUs })
    } finally {
      await server.stop()
    }
  }
  console.log(`\n${machine()}\n`)
  console.table(results)
  return { machine: machine(), results }
}

/** In random order within each `size`: the order in which requests in flight may reach a server. */
function shuffled(headers: readonly string[], size: number): string[] {
  const mixed: string[] = []
  for (let start = 0; start < headers.length; start += size) {
    const some = headers.slice(start, start + size).map((header) => ({ header, at: Math.random() }))
    mixed.push(...some.sort((left, right) => left.at - right.at).map(({ header }) => header))
  }
  return mixed
}
