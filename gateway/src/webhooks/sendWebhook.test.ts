import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo, LookupFunction } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { checkEndpointUrl } from './endpointUrl.ts'
import { createWebhookSender, type WebhookSenderOptions } from './sendWebhook.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** A server on this machine, and what reached it. */
async function startReceiver(listener: RequestListener): Promise<{ port: number; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    listener(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return { port: (server.address() as AddressInfo).port, requests }
}

/** Answers every name with the next of these lists; the last one stays. */
function resolver(...answers: string[][]): LookupFunction {
  return (_, options, callback) => {
    const [addresses = []] = answers.length > 1 ? answers.splice(0, 1) : answers
    const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    if (options.all) callback(null, found)
    else callback(null, found[0]?.address ?? '', found[0]?.family)
  }
}

function senderOf(options: Partial<WebhookSenderOptions> = {}) {
  const lookup = resolver(['127.0.0.1'])
  return createWebhookSender({ allowPrivateNetworks: true, timeoutMs: 5_000, lookup, ...options })
}

const request = { headers: { 'content-type': 'application/json' }, body: '{"a":"ü"}' }

test('posts body and headers, and answers with what came back', async () => {
  let body = ''
  const { port, requests } = await startReceiver(async (incoming, response) => {
    for await (const chunk of incoming) body += chunk
    response.writeHead(202).end('taken\u0000')
  })
  const answer = await senderOf()({ ...request, url: `http://hooks.test:${port}/path?a=b` })
  expect(answer).toEqual({ statusCode: 202, responseBody: 'taken\ufffd', error: null })
  expect(body).toBe(request.body)
  expect(requests[0]).toMatchObject({
    method: 'POST',
    url: '/path?a=b',
    headers: { host: `hooks.test:${port}`, 'content-type': 'application/json', 'content-length': '10' },
  })
})

test('speaks TLS where the URL says https', async () => {
  const { port, requests } = await startReceiver((_, response) => response.end())
  const answer = await senderOf()({ ...request, url: `https://hooks.test:${port}/` })
  expect(answer).toMatchObject({ statusCode: null, error: expect.stringMatching(/EPROTO|SSL/) })
  expect(requests).toEqual([])
})

test.each([301, 302, 303, 307, 308])(
  'follows no redirect (%i), so that none leads into this machine',
  async (status) => {
    const secret = await startReceiver((_, response) => response.end('secret'))
    const { port } = await startReceiver((_, response) => {
      response.writeHead(status, { location: `http://127.0.0.1:${secret.port}/` }).end('elsewhere')
    })
    expect(await senderOf()({ ...request, url: `http://127.0.0.1:${port}/` })).toEqual({
      statusCode: status,
      responseBody: 'elsewhere',
      error: 'Redirects are not followed.',
    })
    expect(secret.requests).toEqual([])
  },
)

describe('reads a bounded part of an answer, in bounded time', () => {
  test('of an answer without end', async () => {
    const { port } = await startReceiver((_, response) => {
      response.on('error', () => {})
      const write = () => {
        while (!response.destroyed && response.write('x'.repeat(1_024)));
      }
      response.on('drain', write)
      write()
    })
    const answer = await senderOf()({ ...request, url: `http://127.0.0.1:${port}/` })
    expect(answer).toEqual({ statusCode: 200, responseBody: 'x'.repeat(1_000), error: null })
  })

  test('of one that stops in the middle', async () => {
    const { port } = await startReceiver((_, response) => response.write('half'))
    const answer = await senderOf({ timeoutMs: 3_000 })({ ...request, url: `http://127.0.0.1:${port}/` })
    expect(answer).toEqual({ statusCode: 200, responseBody: 'half', error: null })
  })

  test('and gives up on one that does not begin', async () => {
    const { port } = await startReceiver(() => {})
    const answer = await senderOf({ timeoutMs: 300 })({ ...request, url: `http://127.0.0.1:${port}/` })
    expect(answer).toEqual({ statusCode: null, responseBody: null, error: 'No answer within 300 ms.' })
  })

  test('and on a name that does not resolve', async () => {
    const answer = await senderOf({ timeoutMs: 300, lookup: () => {} })({ ...request, url: 'http://hooks.test/' })
    expect(answer.error).toBe('No answer within 300 ms.')
  })
})

test('takes a switch of protocols, or a connection that ends, for no answer', async () => {
  const { port } = await startReceiver((incoming, response) => {
    if (incoming.url === '/upgrade') response.writeHead(101, { connection: 'upgrade', upgrade: 'other' }).end()
    else response.destroy()
  })
  for (const path of ['upgrade', 'end']) {
    const answer = await senderOf()({ ...request, url: `http://127.0.0.1:${port}/${path}` })
    expect(answer).toMatchObject({ statusCode: null, error: expect.stringMatching(/closed|hang up/) })
  }
})

test('says why there was no connection', async () => {
  const { port } = await startReceiver(() => {})
  for (const close of closers.splice(0)) close()
  const answer = await senderOf()({ ...request, url: `http://127.0.0.1:${port}/` })
  expect(answer).toMatchObject({ statusCode: null, error: expect.stringContaining('ECONNREFUSED') })
})

describe('reaches no private network', () => {
  const strict = { allowPrivateNetworks: false }
  const reason = 'The host does not resolve to public addresses alone.'

  test.each([
    ['127.0.0.1'],
    ['10.0.0.1'],
    ['169.254.169.254'],
    ['0.0.0.0'],
    ['::1'],
    ['::ffff:127.0.0.1'],
    ['fe80::1'],
    ['fd00:ec2::254'],
    // Written with IPv4 inside: mapped in hexadecimal, compatible, NAT64 and its local prefix, 6to4, Teredo.
    ['::ffff:7f00:1'],
    ['::127.0.0.1'],
    ['64:ff9b::7f00:1'],
    ['64:ff9b:1::7f00:1'],
    ['2002:7f00:1::'],
    ['2001:0:7f00:1::'],
    ['100.64.0.1'],
    ['168.63.129.16'],
    ['93.184.216.34', '127.0.0.1'],
  ])('through a name that resolves to %s', async (...addresses) => {
    const send = senderOf({ ...strict, lookup: resolver(addresses) })
    expect(await send({ ...request, url: 'https://hooks.test/' })).toEqual({
      statusCode: null,
      responseBody: null,
      error: reason,
    })
  })

  test('through a name that was public when the endpoint was made, and is not any more', async () => {
    const { port, requests } = await startReceiver((_, response) => response.end('secret'))
    const lookup = resolver(['93.184.216.34'], ['127.0.0.1'])
    const url = `https://hooks.test:${port}/`
    expect(await checkEndpointUrl(url, { ...strict, lookup })).toMatchObject({ ok: true })
    const send = senderOf({ ...strict, lookup })
    expect((await send({ ...request, url })).error).toBe(reason)
    expect(requests).toEqual([])
  })

  test('through a name that changes between two look-ups of one try: the address that is checked is the one it connects to', async () => {
    const { port, requests } = await startReceiver((_, response) => response.end('secret'))
    let asked = 0
    // Public whenever somebody checks first and connects later, on this machine from the second look-up on.
    const answers = resolver(['93.184.216.34'], ['127.0.0.1'])
    const lookup: LookupFunction = (...of) => {
      asked++
      return answers(...of)
    }
    const send = senderOf({ ...strict, lookup, timeoutMs: 1_000 })
    const answer = await send({ ...request, url: `https://hooks.test:${port}/` })
    expect(answer.statusCode).toBeNull()
    expect(answer.error).not.toBe(reason)
    expect([asked, requests]).toEqual([1, []])
    expect((await send({ ...request, url: `https://hooks.test:${port}/` })).error).toBe(reason)
    expect(requests).toEqual([])
  })

  test('through an address, or a URL that was stored when it was allowed', async () => {
    const { port, requests } = await startReceiver((_, response) => response.end('secret'))
    const send = senderOf(strict)
    for (const url of [
      `https://127.0.0.1:${port}/`,
      `https://[::ffff:127.0.0.1]:${port}/`,
      `https://0x7f.1:${port}/`,
    ]) {
      expect((await send({ ...request, url })).error).toBe('The URL is not allowed. Its host is not a public address.')
    }
    expect((await send({ ...request, url: `http://hooks.test:${port}/` })).error).toMatch(/does not begin with https/)
    expect(requests).toEqual([])
  })
})
