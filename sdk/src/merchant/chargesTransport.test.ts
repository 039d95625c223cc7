import type { RequestListener } from 'node:http'
import type { ChargesTransport } from '@protocolbanks/stream-protocol'
import { afterEach, expect, test, vi } from 'vitest'
import { listen } from '../testing/listen.ts'
import { createChargesClient } from './chargesClient.ts'
import { createFetchTransport } from './chargesTransport.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closers.splice(0).reverse()) await close()
})

async function transportTo(handler: RequestListener): Promise<ChargesTransport> {
  const { url, close } = await listen(handler)
  closers.push(close)
  return createFetchTransport({ chargesUrl: `${url}/api/charges`, apiKey: 'key', fetch })
}

const request = {
  service: 'weather',
  amountAtomic: 1n,
  method: 'GET',
  url: 'https://merchant.test/',
  paymentSignature: null,
}

test('a request names its ticket and its key, and any answer comes back as it is', async () => {
  const seen: unknown[] = []
  const transport = await transportTo((req, res) => {
    const { authorization, 'payment-signature': ticket } = req.headers
    seen.push([req.method, req.url, authorization, ticket])
    res.writeHead(404).end('gone')
  })
  expect(await transport('charge', { ticket: 't 1', body: '{}', waitMs: 10_000 })).toEqual({
    status: 404,
    text: 'gone',
  })
  await transport('served', { ticket: 't 1', waitMs: 10_000 })
  expect(seen).toEqual([
    ['POST', '/api/charges', 'Bearer key', 't 1'],
    ['POST', '/api/charges/t%201/served', 'Bearer key', 't 1'],
  ])
})

test('a gateway that says nothing, or stops in the middle of its answer, is given up when the time is up', async () => {
  const silent = await transportTo(() => {})
  await expect(silent('charge', { ticket: 't', waitMs: 50 })).rejects.toMatchObject({ name: 'TimeoutError' })
  const half = await transportTo((_, res) => res.writeHead(200, { 'content-length': '100' }).write('{'))
  await expect(half('charge', { ticket: 't', waitMs: 300 })).rejects.toMatchObject({ name: 'TimeoutError' })
})

test('nothing is left running once the answer is there, or could not be had', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const chargesUrl = 'https://gateway.test/api/charges'
  const good = createFetchTransport({ chargesUrl, apiKey: 'key', fetch: async () => new Response('{}') })
  expect(await good('served', { ticket: 't', waitMs: 5_000 })).toEqual({ status: 200, text: '{}' })
  const bad = createFetchTransport({
    chargesUrl,
    apiKey: 'key',
    fetch: async () => Promise.reject(new TypeError('no')),
  })
  await expect(bad('served', { ticket: 't', waitMs: 5_000 })).rejects.toThrow('no')
  expect(vi.getTimerCount()).toBe(0)
})

test('a charge whose answer did not come in time is answered 503 and released by its ticket', async () => {
  const asked: [string, string][] = []
  const client = createChargesClient({
    async transport(operation, { ticket }) {
      asked.push([operation, ticket])
      if (operation === 'charge') throw new DOMException('late', 'TimeoutError')
      return { status: 404, text: '{}' }
    },
    chargesUrl: 'http://gateway.invalid/api/charges',
    timeoutMs: 1_000,
    onError: () => {},
  })
  expect(await client.charge(request)).toMatchObject({ outcome: 'answer', status: 503 })
  const ticket = asked[0]?.[1]
  await expect
    .poll(() => asked)
    .toEqual([
      ['charge', ticket],
      ['release', ticket],
    ])
})
