import autocannon, { type Request, type Result } from 'autocannon'

export type Load = {
  requestsPerSecond: number
  p50Ms: number
  p99Ms: number
}

/**
 * `amount` requests over keep-alive connections; `headers[i]` is the payment of the i-th request.
 *
 * @throws when an answer was not 200, or a connection broke: such figures would mean nothing
 */
export async function load(p: { url: string; connections: number; amount: number; headers?: string[] }): Promise<Load> {
  const { url, connections, amount, headers } = p
  const times: number[] = []
  let next = 0
  const startedAt = performance.now()
  const result = await new Promise<Result>((resolve, reject) => {
    const options = {
      url,
      connections,
      amount,
      requests: [
        headers === undefined
          ? {}
          : {
              setupRequest: (request: Request) => ({
                ...request,
                headers: { 'payment-signature': headers[next++] ?? '' },
              }),
            },
      ],
    }
    const run = autocannon(options, (error, done) => (error ? reject(error) : resolve(done)))
    run.on('response', (_client, _status, _bytes, milliseconds) => times.push(milliseconds))
  })
  const seconds = (performance.now() - startedAt) / 1000
  if (result['2xx'] !== amount || result.errors > 0) {
    throw new Error(
      `${url}: of ${amount} requests ${result['2xx']} were answered 2xx, ${result.non2xx} otherwise, ${result.errors} failed, ${result.timeouts} of them by time.`,
    )
  }
  times.sort((left, right) => left - right)
  const at = (rank: number) => Number((times[Math.ceil(rank * times.length) - 1] ?? 0).toFixed(3))
  return { requestsPerSecond: Math.round(amount / seconds), p50Ms: at(0.5), p99Ms: at(0.99) }
}
