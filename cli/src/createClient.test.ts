import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'
import { CliError } from './cliError.ts'
import { createClient } from './createClient.ts'

const key = 'operator-key-of-this-test'
const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function errorOf(listener: RequestListener): Promise<string> {
  const client = createClient({ url: await serve(listener), key })
  const error: unknown = await client.get('/x', z.object({ id: z.string() })).catch((thrown) => thrown)
  if (!(error instanceof CliError)) throw error
  const text = [error.message, ...error.lines].join('\n')
  expect(text).not.toContain(key)
  return text
}

test('a refusal is shown with its code, detail and hint', async () => {
  const problem = { title: 'Only the operator may do this.', code: 'operator.required', detail: 'd', hint: 'h' }
  const text = await errorOf((_, response) => response.writeHead(403).end(JSON.stringify(problem)))
  expect(text).toBe('Only the operator may do this.\nCode: operator.required (403)\nd\nh')
})

test('what is no gateway is called that, whatever it answers', async () => {
  expect(await errorOf((_, response) => response.writeHead(502).end('<html>'))).toContain('answered 502')
  expect(await errorOf((_, response) => response.end('<html>'))).toContain('not what a gateway')
  expect(await errorOf((_, response) => response.end('{"id":1}'))).toContain('At: id')
  expect(await errorOf((_, response) => response.destroy())).toContain('cannot be reached')
})

test('the key goes nowhere but to the gateway, also when that redirects', async () => {
  const asked: string[] = []
  const elsewhere = await serve((request, response) => {
    asked.push(request.url ?? '')
    response.end('{}')
  })
  expect(await errorOf((_, response) => response.writeHead(302, { location: elsewhere }).end())).toContain('reached')
  expect(asked).toEqual([])
})

test('an answer above 8 MiB is given up', async () => {
  const text = await errorOf((_, response) => {
    const chunk = Buffer.alloc(1024 * 1024, 'x')
    for (let count = 0; count < 10; count++) response.write(chunk)
    response.end()
  })
  expect(text).toContain('too large')
})
