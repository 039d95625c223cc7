import { afterEach, expect, test } from 'vitest'
import { createPayingFetch } from '../agent/createPayingFetch.ts'
import { startTestGateway } from '../testing/startTestGateway.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import { PBStream } from './PBStream.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** A paid route of the Fetch standard, called as it is, and a payment for it as it was sent last. */
async function setUp(answer: (run: number) => Response) {
  const { grant, privateKey, sessionKey } = createTestGrant()
  const gateway = await startTestGateway({ grant, sessionKey })
  closers.push(gateway.close)
  let runs = 0
  const stream = new PBStream({ apiKey: 'test-key', service: 'weather', ratePerCall: '0.02', gatewayUrl: gateway.url })
  const route = stream.route(() => answer(++runs))
  let last: Request | undefined
  const payingFetch = createPayingFetch({
    grant,
    sessionKey: privateKey,
    async fetch(input, init) {
      last = new Request(input, init)
      return route(last.clone())
    },
  })
  const again = () => {
    if (!last) throw new Error('nothing was sent')
    return route(last.clone())
  }
  return { gateway, again, pay: () => payingFetch('http://merchant.test/paid'), runs: () => runs }
}

/** Three events, of which the last breaks when told to. */
function events(breaks: boolean): Response {
  let sent = 0
  const body = new ReadableStream({
    pull(controller) {
      sent++
      if (sent === 3 && breaks) controller.error(new Error('the source broke'))
      else if (sent > 3) controller.close()
      else controller.enqueue(new TextEncoder().encode(`data: ${sent}\n\n`))
    },
  })
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
}

test('an answer that breaks half-way stays charged, and its retry is served again without a charge, once', async () => {
  const { gateway, pay, again, runs } = await setUp((run) => events(run === 1))
  const first = await pay()
  await expect(first.text()).rejects.toThrow('the source broke')
  const second = await again()
  expect(second.headers.get('payment-response')).toBe(first.headers.get('payment-response'))
  expect(await second.text()).toBe('data: 1\n\ndata: 2\n\ndata: 3\n\n')
  expect(await (await again()).text()).toBe('data: 1\n\ndata: 2\n\ndata: 3\n\n')
  expect([runs(), gateway.charged]).toEqual([2, 20_000n])
})

test('a reader that leaves a small answer finds all of it at its retry', async () => {
  const { gateway, pay, again, runs } = await setUp(() => events(false))
  const first = await pay()
  await first.body?.cancel()
  expect(await (await again()).text()).toBe('data: 1\n\ndata: 2\n\ndata: 3\n\n')
  expect([runs(), gateway.charged]).toEqual([1, 20_000n])
})

test('an answer above what is kept streams through whole, and its retry is told that it was answered', async () => {
  const body = 'x'.repeat(300_000)
  const { gateway, pay, again, runs } = await setUp(() => new Response(body))
  expect(await (await pay()).text()).toBe(body)
  const second = await again()
  expect([second.status, await second.json()]).toMatchObject([409, { code: 'request.answered' }])
  expect([runs(), gateway.charged]).toEqual([1, 20_000n])
})

test.each([204, 304])('an answer with status %i has no body, the first time and again', async (status) => {
  const { pay, again, runs } = await setUp(() => new Response(null, { status, headers: { etag: 'one' } }))
  for (const answer of [await pay(), await again()]) {
    expect([answer.status, await answer.text(), answer.headers.get('etag')]).toEqual([status, '', 'one'])
  }
  expect(runs()).toBe(1)
})
