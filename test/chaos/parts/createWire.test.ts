import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createWire, type Wire } from './createWire.ts'

const server = createServer((_, response) => response.end('hello'))
let wire: Wire
beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  wire = await createWire(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
})
afterAll(async () => {
  await wire.close()
  server.closeAllConnections()
  server.close()
})

const ask = (timeoutMs = 20_000) =>
  fetch(wire.url, { signal: AbortSignal.timeout(timeoutMs) }).then((answer) => answer.text())

test('a wire carries what is sent', async () => {
  expect(await ask()).toBe('hello')
})

test('one that is cut refuses, until it is mended', async () => {
  await wire.cut()
  await expect(ask()).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
  await wire.mend()
  expect(await ask()).toBe('hello')
})

test('one that is silent lets nothing through, and what was open then is ended by mending', async () => {
  wire.silence()
  await expect(ask(300)).rejects.toMatchObject({ name: 'TimeoutError' })
  const waiting = ask()
  const ended = expect(waiting).rejects.toThrow('fetch failed')
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  await wire.mend()
  await ended
  expect(await ask()).toBe('hello')
})

test('one that is slow answers late', async () => {
  wire.slow(300)
  const startedAt = performance.now()
  expect(await ask()).toBe('hello')
  expect(performance.now() - startedAt).toBeGreaterThan(290)
  await wire.mend()
})
