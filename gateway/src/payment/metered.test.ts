import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeHeader, type Pricing, settleResponseSchema } from '@protocolbanks/stream-protocol'
import { afterEach, describe, expect, test } from 'vitest'
import { partitionOf } from '../meter/partitionOf.ts'
import type { Service } from '../services/serviceTable.ts'
import {
  account,
  createTestGateway,
  grantId,
  newRequestId,
  paid,
  payee,
  payment,
  price,
  type TestGateway,
} from './testing/testGateway.ts'

type Serve = (request: IncomingMessage, response: ServerResponse) => void

let server: Server | undefined
let gateway: TestGateway

async function setUp(service: Partial<Service>, serve: Serve) {
  server = createServer(serve)
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  gateway = createTestGateway({ upstream: `http://127.0.0.1:${port}`, service })
  await gateway.ready()
}

afterEach(async () => {
  server?.closeAllConnections()
  await new Promise((resolve) => server?.close(resolve))
})

/** One base unit a byte, and so on: amounts are as easy to read as they can be. */
const rate = { price: 1n, per: 1n }
const perByte: Pricing = { kind: 'byte', rate }
const perToken: Pricing = { kind: 'token', input: rate, output: { price: 10n, per: 1n } }
const perUnit: Pricing = { kind: 'unit', unit: 'page', rate: { price: 100n, per: 1n } }

function call(cumulative: bigint, requestId = newRequestId(), init: RequestInit = {}, path = '/weather') {
  return gateway.app.request(path, { ...init, ...paid(payment(gateway.service, cumulative, requestId)) })
}

function sendVoucher(cumulative: bigint, voucherFor: string) {
  const extensions = { 'payment-identifier': { info: { id: newRequestId() } }, session: { voucherFor } }
  const header = payment(gateway.service, cumulative, newRequestId(), { extensions })
  return gateway.app.request('/weather', { method: 'HEAD', ...paid(header) })
}

async function charged(): Promise<bigint> {
  return (await gateway.meter.read(account, grantId))?.channels[payee]?.charged ?? 0n
}

async function events() {
  const events = await gateway.meter.peekUsage(partitionOf(account), undefined, 100)
  return { sum: events.reduce((sum, { amount }) => sum + amount, 0n), ids: events.map(({ requestId }) => requestId) }
}

function receiptOf(response: Response) {
  const decoded = decodeHeader(response.headers.get('payment-response') ?? '', settleResponseSchema)
  if (!decoded.ok) throw new Error(decoded.reason)
  return decoded.value
}

/** `data` of the events of one type. */
function eventsOf(text: string, type: string) {
  return text
    .split('\n\n')
    .filter((event) => event.startsWith(`event: ${type}\n`))
    .map((event) => JSON.parse(event.slice(event.indexOf('data: ') + 6)) as Record<string, string>)
}

describe('an answer that is complete before it is of use', () => {
  const answer = JSON.stringify({ usage: { prompt_tokens: 7, completion_tokens: 30 } })

  test('costs the tokens it used, and its receipt says so; a retry gets both again', async () => {
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(answer)
    })
    const requestId = newRequestId()
    for (let times = 0; times < 2; times++) {
      const response = await call(price, requestId)
      expect(await response.text()).toBe(answer)
      expect(receiptOf(response)).toMatchObject({ amount: '307', extra: { charged: '307', requestId } })
    }
    expect(await charged()).toBe(307n)
    expect(await events()).toEqual({ sum: 307n, ids: [requestId] })
  })

  test('costs the units that the API reports, in a header that stays here', async () => {
    await setUp({ pricing: perUnit }, (request, response) => {
      const units = new URL(request.url ?? '/', 'http://x').searchParams.get('units') ?? ''
      response.writeHead(200, { 'payment-units': units }).end('pages')
    })
    for (const [units, amount] of [
      ['2', '200'],
      ['0.015', '2'],
      ['0', '0'],
      // Neither a number nor above what is held: the price is the most.
      ['many', `${price}`],
    ]) {
      const response = await call(500_000n, newRequestId(), {}, `/weather?units=${units}`)
      expect(receiptOf(response).amount, units).toBe(amount)
      expect(response.headers.get('payment-units')).toBeNull()
      expect(await response.text()).toBe('pages')
    }
    expect((await events()).sum).toBe(202n + price)
  })

  test('costs what it used above its hold as far as price and voucher go, and never more', async () => {
    const told = JSON.stringify({ usage: { prompt_tokens: 0, completion_tokens: 150 } })
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(told)
    })
    const body = JSON.stringify({ max_tokens: 5, prompt: 'hi' })
    const hold = BigInt(body.length + 50)
    const ask = (cumulative: bigint) =>
      gateway.app.request('/weather', {
        method: 'POST',
        body,
        headers: {
          ...{ 'content-type': 'application/json', 'content-length': `${body.length}` },
          ...paid(payment(gateway.service, cumulative)).headers,
        },
      })
    expect(receiptOf(await ask(1_500n)).amount).toBe('1500')
    // The voucher has room for the hold alone.
    expect(receiptOf(await ask(1_500n + hold)).amount).toBe(`${hold}`)
    expect(await charged()).toBe(1_500n + hold)
  })

  test('costs the price at most, whatever the voucher would allow', async () => {
    await setUp({ pricing: perUnit }, (_, response) => {
      response.writeHead(200, { 'payment-units': '150' }).end('pages')
    })
    expect(receiptOf(await call(50_000n)).amount).toBe(`${price}`)
  })

  test('costs nothing when the API failed', async () => {
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(500, { 'content-type': 'application/json' }).end(answer)
    })
    expect((await call(price)).status).toBe(500)
    expect(await charged()).toBe(0n)
  })

  test('costs nothing when the API refused and used nothing', async () => {
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"no such model"}')
    })
    const response = await call(price)
    expect([response.status, receiptOf(response).amount]).toEqual([400, '0'])
    expect(await charged()).toBe(0n)
  })

  test('holds what the request allows, and costs that when it does not say what it used', async () => {
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
    const body = JSON.stringify({ max_tokens: 5, prompt: 'hi' })
    const headers = { 'content-type': 'application/json', 'content-length': `${body.length}` }
    const header = payment(gateway.service, price)
    const response = await gateway.app.request('/weather', {
      method: 'POST',
      body,
      headers: { ...headers, ...paid(header).headers },
    })
    expect(receiptOf(response).amount).toBe(`${body.length + 50}`)
  })

  test('streams on when it is long and does not say so, and costs what its end says it used', async () => {
    let end = () => {}
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.write(`{"choices":["${'x'.repeat(1_200_000)}"],`)
      end = () => response.end(answer.slice(1))
    })
    // Its head is here before its end is written: no more of it is held in memory.
    const response = await call(price)
    expect(receiptOf(response).amount).toBe(`${price}`)
    end()
    expect((await response.text()).length).toBe(1_200_015 + answer.length)
    await expect.poll(charged).toBe(307n)
    expect((await events()).sum).toBe(307n)
  })

  test('of a fixed price streams on too when it is long and does not say so', async () => {
    let end = () => {}
    await setUp({}, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.write(`["${'x'.repeat(200_000)}`)
      end = () => response.end('"]')
    })
    const response = await call(price)
    expect(receiptOf(response).amount).toBe(`${price}`)
    end()
    expect((await response.text()).length).toBe(200_004)
    expect(await charged()).toBe(price)
  })

  test('is asked for as it is, so that its usage can be read', async () => {
    let encoding: string | undefined
    await setUp({ pricing: perToken }, (request, response) => {
      encoding = String(request.headers['accept-encoding'])
      response.writeHead(200, { 'content-type': 'application/json' }).end(answer)
    })
    await gateway.app.request('/weather', {
      headers: { 'accept-encoding': 'gzip', ...paid(payment(gateway.service, price)).headers },
    })
    expect(encoding).toBe('identity')
  })
})

describe('a stream', () => {
  const chunk = 'x'.repeat(4_000)

  test('costs its bytes, to the last', async () => {
    await setUp({ pricing: perByte }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      for (let index = 0; index < 6; index++) response.write(chunk)
      response.end('yz')
    })
    const response = await call(price * 3n)
    expect(await response.text()).toBe(`${chunk.repeat(6)}yz`)
    await expect.poll(charged).toBe(24_002n)
    expect((await events()).sum).toBe(24_002n)
  })

  test('that is left costs what was delivered', async () => {
    let isLeft = false
    await setUp({ pricing: perByte }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      const timer = setInterval(() => response.write('z'.repeat(100)), 5)
      response.on('close', () => {
        isLeft = true
        clearInterval(timer)
      })
    })
    const requestId = newRequestId()
    const reader = (await call(price, requestId)).body?.getReader()
    let delivered = 0
    while (delivered < 500) delivered += (await reader?.read())?.value?.length ?? 0
    await reader?.cancel()
    expect(await charged()).toBe(BigInt(delivered))
    expect((await events()).sum).toBe(BigInt(delivered))
    await expect.poll(() => isLeft).toBe(true)
    const again = await call(price, requestId)
    expect(again.status).toBe(409)
    expect(receiptOf(again).amount).toBe(`${delivered}`)
  })

  test('that the API breaks off costs what was delivered', async () => {
    let breakOff = () => {}
    await setUp({ pricing: perByte }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      response.write(chunk)
      breakOff = () => response.destroy()
    })
    const reader = (await call(price)).body?.getReader()
    let delivered = 0
    while (delivered < chunk.length) delivered += (await reader?.read())?.value?.length ?? 0
    breakOff()
    await expect(reader?.read()).rejects.toThrow()
    await expect.poll(charged).toBe(4_000n)
  })

  test('whose voucher is used up is cut at the last byte that is paid', async () => {
    await setUp({ pricing: perByte, voucherGraceMs: 50 }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      for (let index = 0; index < 6; index++) response.write(chunk)
      response.end()
    })
    const reader = (await call(price)).body?.getReader()
    let delivered = 0
    const read = async () => {
      for (;;) delivered += (await reader?.read())?.value?.length ?? 0
    }
    await expect(read()).rejects.toThrow('voucher.exhausted')
    expect(delivered).toBe(Number(price))
    expect(await charged()).toBe(price)
  })

  test('costs the time it takes', async () => {
    // What the voucher allows lasts for ten seconds.
    const perSecond: Pricing = { kind: 'second', rate: { price: 100_000n, per: 1n } }
    await setUp({ pricing: perSecond, price: 50_000n }, (_, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      response.write('a', () => setTimeout(() => response.end('b'), 120))
    })
    const startedAt = performance.now()
    expect(await (await call(1_000_000n)).text()).toBe('ab')
    const milliseconds = BigInt(Math.ceil(performance.now() - startedAt))
    await expect.poll(async () => (await events()).sum === (await charged())).toBe(true)
    expect(await charged()).toBeGreaterThanOrEqual(10_000n)
    // Every millisecond that has begun counts.
    expect(await charged()).toBeLessThanOrEqual((milliseconds + 1n) * 100n)
  })
})

describe('a stream of events', () => {
  const text = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
  const usage = (completion: number) =>
    `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 20, completion_tokens: completion } })}\n\n`

  test('costs the tokens that its last event says it used, and ends with its receipt', async () => {
    const sent = `${text('Hello')}${text(' world')}${usage(40)}data: [DONE]\n\n`
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (let at = 0; at < sent.length; at += 7) response.write(sent.slice(at, at + 7))
      response.end()
    })
    const requestId = newRequestId()
    const received = await (await call(price, requestId)).text()
    expect(received.startsWith(sent)).toBe(true)
    expect(eventsOf(received, 'payment-receipt')).toMatchObject([
      { amount: '420', extra: { charged: '420', requestId } },
    ])
    expect(await charged()).toBe(420n)
    // As it was, with its receipt.
    const again = await call(price, requestId)
    expect(await again.text()).toBe(received)
    expect(receiptOf(again).amount).toBe('420')
    expect((await events()).ids).toEqual([requestId])
  })

  test('that says what it used when it is left before its end costs about the tokens that came', async () => {
    await setUp({ pricing: perToken }, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const timer = setInterval(() => response.write(text('x')), 5)
      response.on('close', () => clearInterval(timer))
    })
    const reader = (await call(price)).body?.getReader()
    let received = ''
    while (received.split('\n\n').length <= 5) received += Buffer.from((await reader?.read())?.value ?? []).toString()
    await reader?.cancel()
    expect(await charged()).toBe(10n * BigInt(received.split('\n\n').length - 1))
  })

  test('asks for the next voucher in-band, and goes on with the one that comes out of band', async () => {
    await setUp({ pricing: perToken, price: 600n, voucherGraceMs: 20_000 }, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (let tokens = 10; tokens <= 150; tokens += 10) response.write(`${text('ten')}${usage(tokens)}`)
      response.end()
    })
    const requestId = newRequestId()
    const response = await call(600n, requestId)
    const reader = response.body?.getReader()
    let received = ''
    let asked = 0
    for (;;) {
      const { done, value } = (await reader?.read()) ?? { done: true, value: undefined }
      if (done) break
      received += Buffer.from(value ?? []).toString()
      const needed = eventsOf(received, 'payment-need-voucher')
      if (needed.length === asked) continue
      asked = needed.length
      const { channelId, requiredCumulative, acceptedCumulative } = needed.at(-1) ?? {}
      expect(channelId).toBe(`${grantId}:${payee}`.toLowerCase())
      // A segment above what was delivered; of the one before not all was used.
      const above = BigInt(requiredCumulative ?? 0) - BigInt(acceptedCumulative ?? 0)
      expect(above > 0n && above <= 600n, `${above}`).toBe(true)
      const taken = await sendVoucher(BigInt(requiredCumulative ?? 0), requestId)
      expect([taken.status, await taken.text()]).toEqual([204, ''])
    }
    expect(asked).toBe(2)
    expect(eventsOf(received, 'payment-receipt')).toMatchObject([{ amount: '1520', extra: { charged: '1520' } }])
    expect(await events()).toEqual({ sum: 1_520n, ids: [requestId, `${requestId}~2`, `${requestId}~3`] })
  })

  test('whose voucher does not come ends with its receipt and says why; what was delivered is paid', async () => {
    await setUp({ pricing: perToken, price: 600n, voucherGraceMs: 50 }, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (let tokens = 10; tokens <= 150; tokens += 10) response.write(`${text('ten')}${usage(tokens)}`)
      response.end()
    })
    const received = await (await call(600n)).text()
    expect(eventsOf(received, 'payment-need-voucher')).toHaveLength(1)
    const paidFor = received.lastIndexOf('"completion_tokens"')
    const tokens = Number(/^"completion_tokens":(\d+)/.exec(received.slice(paidFor))?.[1])
    const [receipt] = eventsOf(received, 'payment-receipt')
    // Its text came, which counts as a token until its usage does.
    expect(receipt?.amount).toBe(`${20 + tokens * 10 + 10}`)
    expect(eventsOf(received, 'payment-error')).toMatchObject([{ code: 'voucher.exhausted', status: 402 }])
    expect(await charged()).toBe(BigInt(receipt?.amount ?? 0))
  })

  test('passes at the pace of its reader', async () => {
    let written = 0
    await setUp({ pricing: perByte, price: 1_000_000n }, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const event = `data: ${'x'.repeat(10_000)}\n\n`
      const write = () => {
        while (written < 90 && response.write(event)) written++
        if (written < 90) response.once('drain', write)
        else response.end()
      }
      write()
    })
    const reader = (await call(1_000_000n)).body?.getReader()
    await reader?.read()
    await new Promise((resolve) => setTimeout(resolve, 100))
    // One event was read, and no more than that is paid for when the reader leaves.
    await reader?.cancel()
    expect(await charged()).toBe(10_008n)
  })
})

describe('routes of a service', () => {
  test('have prices of their own, whatever way a request is written', async () => {
    await setUp(
      {
        routes: [
          { method: 'POST', path: '/large', price: 30_000n, pricing: { kind: 'call' } },
          { path: '/docs/*', price: 5n, pricing: { kind: 'call' } },
        ],
      },
      (_, response) => response.end('ok'),
    )
    const priced = async (method: string, path: string) => {
      const accepted = (amount: string) => ({ accepted: { amount } })
      const prices = ['5', '10000', '30000']
      for (const amount of prices) {
        const header = payment(gateway.service, 900_000n, newRequestId(), {
          accepted: { ...(await offerFor(method, path)), ...accepted(amount).accepted },
        })
        const response = await gateway.app.request(path, { method, ...paid(header) })
        if (response.status === 200) return receiptOf(response).amount
      }
      return undefined
    }
    const offerFor = async (method: string, path: string): Promise<Record<string, unknown>> => {
      const header = (await gateway.app.request(path, { method })).headers.get('payment-required') ?? ''
      return JSON.parse(Buffer.from(header, 'base64').toString()).accepts[0]
    }
    expect(await priced('GET', '/weather/docs/a/b')).toBe('5')
    expect(await priced('GET', '/weather/large')).toBe('10000')
    expect(await priced('POST', '/weather/large')).toBe('30000')
    expect(await priced('POST', '/weather/%4Carge/')).toBe('30000')
    expect(await priced('GET', '/weather/docs/%252e%252e/large')).toBe('30000')
  })

  test('with rates of their own are not taken where a request can be read in two ways', async () => {
    let calls = 0
    await setUp(
      {
        pricing: perByte,
        routes: [{ path: '/bulk', price: 60_000n, pricing: { kind: 'byte', rate: { price: 1n, per: 1_000n } } }],
      },
      (_, response) => {
        calls += 1
        response.end('ok')
      },
    )
    const response = await call(900_000n, newRequestId(), {}, '/weather/large;a=b')
    expect([response.status, await response.json()]).toMatchObject([400, { code: 'path.ambiguous' }])
    expect([calls, await charged()]).toEqual([0, 0n])
  })
})
