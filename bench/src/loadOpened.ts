import { Pool } from 'undici'
import type { Load } from './load.ts'

export type LoadOpenedOptions = {
  url: string
  /** Answers without payment, at the same server: over it the connections are opened. */
  freeUrl: string
  connections: number
  /** One payment for each request. */
  headers: readonly string[]
}

/** A server that has much to do accepts one connection in each turn of its event loop: hundreds take seconds. */
const openingMs = 120_000

/**
 * As `load`, over connections that were opened before: who pays often keeps theirs. Whichever is free takes the next request.
 *
 * @throws when an answer was not 200
 */
export async function loadOpened({ url, freeUrl, connections, headers }: LoadOpenedOptions): Promise<Load> {
  const { origin, pathname } = new URL(url)
  const pool = new Pool(origin, {
    connections,
    pipelining: 1,
    headersTimeout: openingMs,
    connect: { timeout: openingMs },
  })
  try {
    const ask = async (path: string, payment?: string) => {
      const { statusCode, body } = await pool.request({
        path,
        method: 'GET',
        ...(payment !== undefined && { headers: { 'payment-signature': payment } }),
      })
      await body.dump()
      if (statusCode !== 200) throw new Error(`${origin}${path} was answered ${statusCode}.`)
    }
    const each = (run: () => Promise<void>) => Promise.all(Array.from({ length: connections }, run))
    // All at once, so that each has a connection of its own.
    await each(() => ask(new URL(freeUrl).pathname))

    const times: number[] = []
    const left = headers[Symbol.iterator]()
    const startedAt = performance.now()
    await each(async () => {
      for (const payment of left) {
        const askedAt = performance.now()
        await ask(pathname, payment)
        times.push(performance.now() - askedAt)
      }
    })
    const seconds = (performance.now() - startedAt) / 1_000
    times.sort((a, b) => a - b)
    const at = (rank: number) => Number((times[Math.ceil(rank * times.length) - 1] ?? 0).toFixed(3))
    return { requestsPerSecond: Math.round(headers.length / seconds), p50Ms: at(0.5), p99Ms: at(0.99) }
  } finally {
    await pool.destroy()
  }
}
