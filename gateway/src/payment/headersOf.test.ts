import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { headersOf } from './headersOf.ts'

type Seen = { ours: object; theirs: object; isNodes: boolean }

let server: Server
let seen: Seen | undefined
const app = new Hono<{ Bindings: { incoming?: { headers: object } } }>()
app.get('/', (c) => {
  const ours = headersOf(c)
  seen = { ours: { ...ours }, theirs: c.req.header(), isNodes: ours === c.env?.incoming?.headers }
  return c.text('ok')
})

beforeAll(async () => {
  server = createServer(getRequestListener(app.fetch as Parameters<typeof getRequestListener>[0]))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

/** What is seen of a request with these header lines beside those that Node adds. */
async function ask(lines: readonly string[]): Promise<Seen> {
  const { port } = server.address() as AddressInfo
  const headers = ['Host', `127.0.0.1:${port}`, 'Connection', 'close', ...lines]
  await new Promise<void>((resolve, reject) => {
    request({ host: '127.0.0.1', port, headers, agent: false }, (response) => {
      response.resume()
      response.on('end', resolve)
    })
      .on('error', reject)
      .end()
  })
  if (!seen) throw new Error('The request was not seen.')
  return seen
}

test.each<[string, string[], boolean]>([
  ['of each name one', ['Accept', '*/*', 'X-Own', ' a, b ', 'Cookie', 'a=1; b=2', 'X-Empty', ''], true],
  ['letters beyond ASCII', ['X-Own', 'gr\u00f6\u00dfe'], true],
  ['a name twice', ['X-Own', 'a', 'x-own', 'b'], false],
  ['what Node takes once', ['Authorization', 'Bearer a', 'authorization', 'Bearer b'], false],
  ['cookies in two lines', ['Cookie', 'a=1', 'Cookie', 'b=2'], false],
  ['a cookie to set', ['Set-Cookie', 'a=1'], false],
])('headers (%s) are as Hono reads them', async (_, lines, isNodes) => {
  const { ours, theirs, isNodes: areNodes } = await ask(lines)
  expect(ours).toEqual(theirs)
  expect(areNodes).toBe(isNodes)
})

test('headers of a request that comes from no server are as Hono reads them', async () => {
  await app.request('/', { headers: { 'X-Own': 'a' } })
  expect(seen?.ours).toEqual({ 'x-own': 'a' })
})
