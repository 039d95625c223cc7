import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo, LookupFunction } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { account, createTestGateway, grantId, paid, payee, payment, price } from '../payment/testing/testGateway.ts'
import { parseAllowedHost } from './parseAllowedHost.ts'
import { createUpstreamGuard, type UpstreamPolicy } from './upstreamGuard.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** A server on this machine, with the requests and connections that reached it. */
async function startPrivateServer(listener: RequestListener = (_, response) => response.end('{}')) {
  const seen = { requests: [] as (string | undefined)[], connections: 0 }
  const server = createServer((request, response) => {
    seen.requests.push(request.url)
    listener(request, response)
  })
  server.on('connection', () => {
    seen.connections++
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return { port: (server.address() as AddressInfo).port, seen }
}

/** A resolver that knows these names; what it knows may change. */
function resolver(names: Record<string, string[]>): LookupFunction {
  return (host, options, callback) => {
    const found = (names[host] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    const [first] = found
    if (!first) return callback(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), [])
    if (options.all) callback(null, found)
    else callback(null, first.address, first.family)
  }
}

function guardOf(policy: Partial<UpstreamPolicy> = {}) {
  return createUpstreamGuard({ allowedHosts: [], allowPrivateNetworks: false, lookup: resolver({}), ...policy })
}

const notPublic = 'Its host is not a public address.'
const notAlone = 'Its host does not resolve to public addresses alone.'

test.each([
  'http://127.0.0.1:8080',
  'http://127.1/',
  'http://127.0.0.1./',
  'http://2130706433/',
  'http://0177.0.0.1/',
  'http://0x7f000001/',
  'http://0/',
  'http://10.1.2.3/',
  'http://192.168.1.1/',
  'http://169.254.169.254/latest/meta-data/',
  'http://0xa9fea9fe/',
  'http://168.63.129.16/',
  'http://[::1]:8080/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:a9fe:a9fe]/',
  'http://[64:ff9b::7f00:1]/',
  'http://[fe80::1]/',
  'http://[fd00:ec2::254]/',
])('a merchant may not have %s as the upstream of a service', async (upstream) => {
  expect(await guardOf().check(upstream)).toBe(notPublic)
  expect(await guardOf({ allowPrivateNetworks: true }).check(upstream)).toBeUndefined()
})

test('a name has to resolve, and to public addresses alone', async () => {
  const lookup = resolver({
    'api.example.com': ['93.184.216.34', '2606:2800:220:1::1'],
    'mixed.example.com': ['93.184.216.34', '10.0.0.1'],
    'mapped.example.com': ['::ffff:10.0.0.1'],
    localhost: ['127.0.0.1', '::1'],
    'localhost.': ['127.0.0.1'],
  })
  const { check } = guardOf({ lookup })
  expect(await check('https://api.example.com/v1')).toBeUndefined()
  for (const host of ['mixed.example.com', 'mapped.example.com', 'localhost', 'localhost.', 'LOCALHOST']) {
    expect(await check(`http://${host}:9000`), host).toBe(notAlone)
  }
  expect(await check('https://nowhere.example.com')).toBe('Its host cannot be resolved.')
})

test('a host that the operator allows may be private, at all ports or at one', async () => {
  const allowedHosts = ['API.internal', '10.0.3.7:8080', '[fd00::7]', 'plain.internal:80'].map((text) => {
    const host = parseAllowedHost(text)
    if (host === undefined) throw new Error(`${text} is no host`)
    return host
  })
  const { check } = guardOf({ allowedHosts, lookup: resolver({ 'other.internal': ['10.0.0.2'] }) })
  for (const upstream of [
    'http://api.internal',
    'http://api.internal.:9000/v1',
    'https://API.INTERNAL',
    'http://10.0.3.7:8080',
    // The same address.
    'http://167772935:8080/',
    'http://[fd00:0::7]:1234',
    'http://plain.internal',
  ]) {
    expect(await check(upstream), upstream).toBeUndefined()
  }
  expect(await check('http://10.0.3.7:8081')).toBe(notPublic)
  expect(await check('http://other.internal')).toBe(notAlone)
  expect(await check('https://plain.internal')).toBe('Its host cannot be resolved.')
})

test.each(['', 'a b', 'http://a', 'a/b', 'user@a', 'a:0', 'a:65536', 'a:b', '::1', '[::1', '256.256.256.256'])(
  '"%s" is no host to be allowed',
  (text) => expect(parseAllowedHost(text)).toBeUndefined(),
)

describe('where a connection goes', () => {
  async function arrange(policy: Partial<UpstreamPolicy>, service: { upstream: string; upstreamTrusted?: boolean }) {
    const gateway = createTestGateway({ upstream: service.upstream, service, guard: guardOf(policy) })
    await gateway.ready()
    let calls = 0n
    return {
      call: () => {
        calls++
        return gateway.app.request('/weather/x', paid(payment(gateway.service, calls * price)))
      },
      charged: async () => (await gateway.meter.read(account, grantId))?.channels[payee]?.charged ?? 0n,
    }
  }

  test.each([
    ['an address', () => '127.0.0.1', {}],
    ['a name that has come to point inside', () => 'rebound.test', { 'rebound.test': ['127.0.0.1'] }],
    ['a name with one address inside', () => 'mixed.test', { 'mixed.test': ['93.184.216.34', '127.0.0.1'] }],
    ['a name with a mapped address', () => 'mapped.test', { 'mapped.test': ['::ffff:127.0.0.1'] }],
  ])('is checked: %s is refused, reached by nobody and paid by nobody', async (_, hostOf, names) => {
    const { port, seen } = await startPrivateServer()
    const { call, charged } = await arrange(
      { lookup: resolver(names as Record<string, string[]>) },
      { upstream: `http://${hostOf()}:${port}` },
    )
    const answer = await call()
    expect(answer.status).toBe(502)
    expect(await answer.json()).toMatchObject({ code: 'upstream.refused', detail: expect.stringContaining('weather') })
    expect(await charged()).toBe(0n)
    expect(seen.connections).toBe(0)
  })

  test('is free to the operator, to hosts the operator allows, and in development', async () => {
    const { port, seen } = await startPrivateServer()
    const lookup = resolver({ 'inside.test': ['127.0.0.1'] })
    const upstream = `http://inside.test:${port}`
    for (const [policy, service] of [
      [{ lookup }, { upstream, upstreamTrusted: true }],
      [{ lookup, allowedHosts: [`inside.test:${port}`] }, { upstream }],
      [{ lookup, allowPrivateNetworks: true }, { upstream }],
    ] as const) {
      const { call, charged } = await arrange(policy, service)
      expect((await call()).status).toBe(200)
      expect(await charged()).toBe(price)
    }
    expect(seen.requests).toEqual(['/x', '/x', '/x'])
  })

  test('is kept: calls in turn share a connection, but none that was made for the operator', async () => {
    const { port, seen } = await startPrivateServer()
    const policy = { lookup: resolver({ 'inside.test': ['127.0.0.1'] }) }
    const guard = guardOf(policy)
    const upstream = `http://inside.test:${port}`
    const trusted = createTestGateway({ upstream, service: { upstreamTrusted: true }, guard })
    const other = createTestGateway({ upstream, guard })
    await Promise.all([trusted.ready(), other.ready()])
    const calls = 10
    for (let call = 1n; call <= calls; call++) {
      const answer = await trusted.app.request('/weather/x', paid(payment(trusted.service, call * price)))
      expect(answer.status).toBe(200)
      await answer.text()
    }
    expect(seen.connections).toBeLessThan(calls)
    const refused = await other.app.request('/weather/x', paid(payment(other.service, price)))
    expect(refused.status).toBe(502)
    expect(seen.requests).toHaveLength(calls)
  })

  test('is never where a redirect points: the client gets the redirect', async () => {
    const inside = await startPrivateServer()
    const location = `http://127.0.0.1:${inside.port}/secret`
    const outside = await startPrivateServer((_, response) => response.writeHead(302, { location }).end())
    const { call } = await arrange(
      { lookup: resolver({}), allowedHosts: [`127.0.0.1:${outside.port}`] },
      { upstream: `http://127.0.0.1:${outside.port}` },
    )
    const answer = await call()
    expect({ status: answer.status, location: answer.headers.get('location') }).toEqual({ status: 302, location })
    expect(inside.seen.connections).toBe(0)
  })
})
