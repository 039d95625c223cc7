import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Stack, startStack } from '@protocolbanks/stream-dev'
import { decodeHeader, paymentRequiredHeader, paymentRequiredSchema } from '@protocolbanks/stream-protocol'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { startGateway } from './testing/startGateway.ts'

// A gateway whose services come from a file, and which keeps merchants out of private networks as in production.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 100 }
const payee = privateKeyToAddress(generatePrivateKey())

let stack: Stack
let folder: string
let path: string
let env: Record<string, string>
let upstream: { server: Server; url: string; calls: (string | undefined)[] }

beforeAll(async () => {
  const calls: (string | undefined)[] = []
  const server = createServer((request, response) => {
    calls.push(request.url)
    response.end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  upstream = { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls }
  folder = await mkdtemp(join(tmpdir(), 'services-file-'))
  path = join(folder, 'services.yaml')
  await write('0.01')
  env = { SERVICES_FILE: path, UPSTREAM_ALLOW_PRIVATE_NETWORKS: 'false' }
  stack = await startStack({ env: { gateway: env } })
}, 240_000)
afterAll(async () => {
  await stack?.stop()
  upstream?.server.closeAllConnections()
  await new Promise((resolve) => upstream?.server.close(resolve))
  await rm(folder, { recursive: true })
}, 240_000)

/** The file with this price, put there in one step. */
async function write(price: string): Promise<void> {
  const service = [
    '      - name: weather',
    '        pathPrefix: /weather',
    `        upstream: ${upstream.url}/v1`,
    `        price: ${price}`,
  ]
  const lines = ['merchants:', '  - name: Weather Inc', `    payee: ${payee}`, '    services:', ...service, '']
  await writeFile(`${path}.new`, lines.join('\n'))
  await rename(`${path}.new`, path)
}

async function priceAt(gateway: string): Promise<string | undefined> {
  const response = await fetch(`${gateway}/weather/x`)
  await response.body?.cancel()
  const offer = decodeHeader(response.headers.get(paymentRequiredHeader) ?? '', paymentRequiredSchema)
  return offer.ok ? offer.value.accepts.find(({ scheme }) => scheme === 'session')?.amount : undefined
}

async function readService() {
  const { body } = await manage<{ services: { id: string; pathPrefix: string }[] }>(
    stack,
    stack.operatorApiKey,
    'GET /services?limit=100',
  )
  return body.services.filter(({ pathPrefix }) => pathPrefix === '/weather')
}

test('its services are paid for, at every gateway, and follow the file', { timeout }, async () => {
  const budget = await giveBudget(stack, { payee })
  const agent = createPayingFetch({ grant: budget.agentGrant, sessionKey: budget.sessionPrivateKey })
  expect((await agent(`${stack.gateway.url}/weather/today`)).status).toBe(200)
  expect(upstream.calls).toEqual(['/v1/today'])

  const second = await startGateway(stack, env, { label: 'gateway-b' })
  try {
    const before = await readService()
    expect(before).toHaveLength(1)
    await write('0.02')
    for (const { url } of [stack.gateway, second]) await expect.poll(() => priceAt(url), soon).toBe('20000')
    const [service, ...others] = await readService()
    expect(others).toEqual([])
    expect(service).toMatchObject({ id: before[0]?.id, price: '0.02', managedBy: 'file', upstreamTrusted: true })
    // A file that is wrong changes nothing, and is told.
    await write('free')
    const state = async () =>
      (await (await fetch(`${second.url}/metrics`)).text()).match(/^gateway_services_file_invalid (\d)$/m)?.[1]
    await expect.poll(state, soon).toBe('1')
    expect(await priceAt(second.url)).toBe('20000')
    await write('0.01')
    await expect.poll(() => priceAt(second.url), soon).toBe('10000')
  } finally {
    await second.stop()
  }
})

test('the management API leaves them as they are, and a merchant does not get where the file may', {
  timeout,
}, async () => {
  const [service] = await readService()
  const { body: merchants } = await manage<{ merchants: { id: string; payee: string }[] }>(
    stack,
    stack.operatorApiKey,
    'GET /merchants',
  )
  const merchantId = merchants.merchants.find((merchant) => merchant.payee === payee)?.id
  const made = await manage<{ key: string }>(stack, stack.operatorApiKey, 'POST /api-keys', { merchantId, name: 'own' })
  const { key } = made.body
  for (const apiKey of [key, stack.operatorApiKey]) {
    const refused = await manage(stack, apiKey, `DELETE /services/${service?.id}`)
    expect(refused).toMatchObject({ status: 409, body: { code: 'service.managed' } })
  }
  const own = { name: 'own', pathPrefix: '/own', price: '0.01' }
  for (const host of ['127.0.0.1', 'localhost', '[::1]', '169.254.169.254']) {
    const refused = await manage(stack, key, 'POST /services', { ...own, upstream: `http://${host}:9` })
    expect(refused, host).toMatchObject({ status: 422, body: { code: 'service.upstream_refused' } })
  }
})

test('a gateway does not start with a file that is wrong, and says where it is', { timeout }, async () => {
  await write('free')
  try {
    const start = startGateway(stack, env, { label: 'gateway-c' }).then(({ stop }) => stop())
    await expect(start).rejects.toThrow(/line 8, merchants\[0\]\.services\[0\]\.price/)
  } finally {
    await write('0.01')
  }
})
