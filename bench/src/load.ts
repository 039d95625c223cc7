import autocannon, { type Client, type Request, type Result } from 'autocannon'

export type Load = {
  requestsPerSecond: number
  p50Ms: number
  p99Ms: number
}

export type LoadOptions = {
  url: string
  connections: number
  amount: number
  /** The payment of the i-th request, whatever connection it is sent on. */
  headers?: string[]
  /** The payments of each connection, in its order. */
  perConnection?: string[][]
  /** The header that carries a payment; ours and x402's by default. */
  header?: string
}

/** What settles on a chain before it answers may take long, with many at once. */
const answerSeconds = 60

/**
 * `amount` requests over keep-alive connections, each with its payment.
 *
 * @throws when an answer was not 200, or a connection broke: such figures would mean nothing
 */
export async function load(p: LoadOptions): Promise<Load> {
  const { url, connections, amount, headers, perConnection, header = 'payment-signature' } = p
  const times: number[] = []
  const others = new Map<number, number>()
  let next = 0
  let connected = 0
  const startedAt = performance.now()
  let answeredAt = startedAt
  const result = await new Promise<Result>((resolve, reject) => {
    const options = {
      url,
      connections,
      amount,
      timeout: answerSeconds,
      requests: [
        headers === undefined
          ? {}
          : { setupRequest: (request: Request) => ({ ...request, headers: { [header]: headers[next++] ?? '' } }) },
      ],
      setupClient(client: Client) {
        const payments = perConnection?.[connected++]
        if (!payments) return
        let sent = 0
        const prepare = () => client.setHeaders({ [header]: payments[sent++] ?? '' })
        prepare()
        // The next request is built from what is set when the answer to the one before is here.
        client.on('response', prepare)
      },
    }
    const run = autocannon(options, (error, done) => (error ? reject(error) : resolve(done)))
    run.on('response', (_client, status, _bytes, milliseconds) => {
      // autocannon itself looks once a second whether it is done.
      answeredAt = performance.now()
      times.push(milliseconds)
      if (status >= 300) others.set(status, (others.get(status) ?? 0) + 1)
    })
  })
  const seconds = (answeredAt - startedAt) / 1000
  if (result['2xx'] !== amount || result.errors > 0) {
    const statuses = [...others].map(([status, count]) => `${count} times ${status}`).join(', ')
    throw new Error(
      `${url}: of ${amount} requests ${result['2xx']} were answered 2xx, ${result.non2xx} otherwise (${statuses}), ${result.errors} failed, ${result.timeouts} of them by time.`,
    )
  }
  times.sort((left, right) => left - right)
  const at = (rank: number) => Number((times[Math.ceil(rank * times.length) - 1] ?? 0).toFixed(3))
  return { requestsPerSecond: Math.round(amount / seconds), p50Ms: at(0.5), p99Ms: at(0.99) }
}
