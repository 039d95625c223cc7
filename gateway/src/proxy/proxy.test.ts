import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createTestGateway, payment, price, type TestGateway } from '../payment/testing/testGateway.ts'
import { startTestUpstream, type TestUpstream } from '../payment/testing/testUpstream.ts'

let upstream: TestUpstream
let gateway: TestGateway
let server: Server
let paidCalls: bigint

beforeAll(async () => {
  upstream = await startTestUpstream()
  gateway = createTestGateway({ upstream: `${upstream.url}/v1` })
  await gateway.ready()
  server = createServer(getRequestListener(gateway.app.fetch))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  paidCalls = 0n
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await upstream.stop()
})
beforeEach(() => {
  upstream.calls.length = 0
})

/** A paid call whose path leaves as it is written: `fetch` would tidy it. */
async function call(path: string): Promise<number | undefined> {
  paidCalls++
  const { port } = server.address() as AddressInfo
  const headers = { 'payment-signature': payment(gateway.service, paidCalls * price) }
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode))
    })
      .on('error', reject)
      .end()
  })
}

test.each([
  ['/weather', '/v1'],
  ['/weather?day=1', '/v1?day=1'],
  ['/weather/today', '/v1/today'],
  ['/weather/a%2Fb%20c?q=%2F/x', '/v1/a%2Fb%20c?q=%2F/x'],
  // Names the same service, and nothing of it may get into the upstream's host or port.
  ['/weathe%72', '/v1'],
  ['/weathe%72/today', '/v1/today'],
  ['/%77eather/today?a=/weather/', '/v1/today?a=/weather/'],
])('%s is asked of the upstream as %s', async (path, target) => {
  expect(await call(path)).toBe(200)
  expect(upstream.calls).toEqual([`GET ${target}`])
})

test.each(['/weather/../admin', '/weather/%2e%2e/admin', '/weather/x/..%2f..%2f../admin', '//weather/../../admin'])(
  '%s does not get above what the upstream names',
  async (path) => {
    await call(path)
    for (const asked of upstream.calls) expect(asked).toMatch(/^GET \/v1(\/|$)/)
  },
)
