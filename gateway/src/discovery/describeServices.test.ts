import { Hono } from 'hono'
import { expect, test } from 'vitest'
import type { Service } from '../services/serviceTable.ts'
import { createDiscoveryRoute } from './createDiscoveryRoute.ts'
import { describeServices } from './describeServices.ts'

const service: Service = {
  id: 'svc_1',
  name: 'weather',
  merchantId: 'mer_1',
  payee: '0x00000000000000000000000000000000000000a1',
  token: '0x00000000000000000000000000000000000000a2',
  price: 10_000n,
  exactPrice: 20_000n,
  pathPrefix: '/weather',
  upstream: 'http://weather.test',
  upstreamTimeoutMs: 1_000,
}
const discovery = { publicUrl: 'https://api.example', chain: { chainId: 8_453 }, takesExact: true }

type Document = { paths: Record<string, Record<string, { 'x-payment-info': { offers: Record<string, unknown>[] } }>> }
const describe = (services: Service[], change = {}) =>
  describeServices(services, { ...discovery, ...change }) as Document
const offersOf = (document: Document, path: string, method = 'get') =>
  document.paths[path]?.[method]?.['x-payment-info'].offers.map(({ intent, method, amount }) => [
    intent,
    method,
    amount,
  ])

test('each service that is served here has an entry that names what each way of paying costs', () => {
  const document = describe([service, { ...service, name: 'own', pathPrefix: '/own', upstream: undefined }])
  expect(Object.keys(document.paths)).toEqual(['/weather/{path}'])
  expect(Object.keys(document.paths['/weather/{path}'] ?? {})).toEqual([
    ...['parameters', 'get', 'head', 'post', 'put', 'patch', 'delete'],
  ])
  expect(offersOf(document, '/weather/{path}')).toEqual([
    ['charge', 'evm', '20000'],
    ['charge', 'x402', '20000'],
    ['session', 'x402', '10000'],
  ])
})

test('single payments are named where the merchant and the gateway take them, alone', () => {
  const session = [['session', 'x402', '10000']]
  expect(offersOf(describe([{ ...service, exactPrice: undefined }]), '/weather/{path}')).toEqual(session)
  expect(offersOf(describe([service], { takesExact: false }), '/weather/{path}')).toEqual(session)
})

test('a price that the use decides is none that is fixed', () => {
  const pricing = { kind: 'byte', rate: { price: 1n, per: 1_000n } } as const
  expect(offersOf(describe([{ ...service, pricing }]), '/weather/{path}')).toEqual([
    ['charge', 'evm', '20000'],
    ['charge', 'x402', '20000'],
    ['session', 'x402', null],
  ])
})

test('routes with a price of their own have their own entries, and the first that fits is right', () => {
  const call = { kind: 'call' } as const
  const routes = [
    { method: 'POST', path: '/images/:size', price: 40_000n, pricing: call },
    { path: '/images/*', price: 30_000n, pricing: call },
    { method: 'GET', path: '/', price: 1n, pricing: call },
  ]
  const document = describe([{ ...service, routes }])
  expect(Object.keys(document.paths)).toEqual(['/weather/images/{size}', '/weather', '/weather/{path}'])
  expect(offersOf(document, '/weather/images/{size}', 'post')).toEqual([['session', 'x402', '40000']])
  expect(offersOf(document, '/weather/images/{size}')).toEqual([['session', 'x402', '30000']])
  expect(Object.keys(document.paths['/weather'] ?? {})).toEqual(['get', 'head'])
})

test('a price that depends on the query is none that is fixed', () => {
  const routes = [{ path: '/*', query: { size: 'large' }, price: 50_000n, pricing: { kind: 'call' } as const }]
  expect(offersOf(describe([{ ...service, routes }]), '/weather/{path}')?.map(([, , amount]) => amount)).toEqual([
    ...[null, null, null],
  ])
})

test('the document is written anew when the services were read anew, not at every request, and is not sent to who has it', async () => {
  let table = [service]
  let nowMs = 0
  const app = new Hono().get(
    '/openapi.json',
    createDiscoveryRoute({ all: () => table }, discovery, () => nowMs),
  )
  const first = await app.request('/openapi.json')
  expect(first.headers.get('content-type')).toBe('application/json')
  expect(first.headers.get('access-control-allow-origin')).toBe('*')
  const ifNoneMatch = first.headers.get('etag') ?? ''
  const ask = () => app.request('/openapi.json', { headers: { 'if-none-match': ifNoneMatch } })
  table = [service]
  expect((await ask()).status).toBe(304)
  table = [{ ...service, price: 1n }]
  expect((await ask()).status).toBe(304)
  nowMs += 5_000
  expect((await ask()).status).toBe(200)
})

test('however many services and routes merchants make, what is written of them has an end', () => {
  const routes = Array.from({ length: 100 }, (_, index) => ({
    ...{ path: `/r${index}`, price: 1n, pricing: { kind: 'call' } as const },
  }))
  const many = Array.from({ length: 3_000 }, (_, index) => ({ ...service, routes, pathPrefix: `/s${index}` }))
  expect(Object.keys(describe(many).paths).length).toBeLessThan(4_100)
})
