import { createTracing, traceServer } from '@protocolbanks/stream-runtime'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createApp } from './app.ts'
import { maxBatch } from './rpc/handleJsonRpc.ts'
import { RpcError, rpcCodes, unavailableError } from './rpc/rpcError.ts'

const operatorApiKey = 'the_operators_key_of_this_test'
const merchantKey = 'pb_merchant'
const logger = pino({ level: 'silent' })
const tracing = createTracing({ service: 'paymaster', endpoint: undefined, ratio: 0, logger })

function app(checks: Record<string, string> = { postgres: 'ok' }) {
  return createApp({
    auth: {
      operatorApiKey,
      authenticateApiKey: async (key) => {
        if (key === 'down') throw new Error('connect ECONNREFUSED')
        return key === merchantKey ? { merchantId: 'mer_1' } : undefined
      },
    },
    rpc: {
      methods: {
        who: async (_, caller) => caller,
        sum: async (params) => (params as number[]).reduce((sum, one) => sum + one, 0),
        refuse: async () => {
          throw new RpcError(rpcCodes.refused, 'no', { code: 'sponsor.token', retryable: false })
        },
        crash: async () => {
          throw new Error('secret detail')
        },
      },
      onError: () => unavailableError('The database'),
    },
    trace: traceServer({ tracing, createId: () => '5d1f8c2e-7f5b-4b43-9d6c-9a6a3c1b2e10' }),
    readiness: async () => checks,
    registry: new Registry(),
  })
}

const post = (body: unknown, { path = '/', key = operatorApiKey }: { path?: string; key?: string } = {}) =>
  app().request(path, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}` },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
const call = (method: string, params: unknown[] = [], id: unknown = 1) => ({ jsonrpc: '2.0', id, method, params })

test('a key comes in a header or in the address, and says who calls', async () => {
  expect(await (await post(call('who'))).json()).toMatchObject({ id: 1, result: { role: 'operator' } })
  expect(await (await post(call('who'), { key: merchantKey })).json()).toMatchObject({
    result: { role: 'merchant', merchantId: 'mer_1' },
  })
  const inAddress = await app().request(`/rpc?apikey=${merchantKey}`, {
    method: 'POST',
    body: JSON.stringify(call('who')),
  })
  expect(await inAddress.json()).toMatchObject({ result: { merchantId: 'mer_1' } })
})

test('an unknown key is 401, and a database that is gone is 503, not a refusal', async () => {
  expect((await post(call('who'), { key: 'wrong' })).status).toBe(401)
  const down = await post(call('who'), { key: 'down' })
  expect(down.status).toBe(503)
  expect(await down.json()).toMatchObject({ error: { code: rpcCodes.unavailable, data: { retryable: true } } })
})

test('a batch is answered in order, without its notifications', async () => {
  const notification = { jsonrpc: '2.0', method: 'sum', params: [1] }
  const answer = await post([
    call('sum', [1, 2], 'a'),
    notification,
    call('refuse', [], 'b'),
    call('nothing', [], null),
  ])
  expect(await answer.json()).toEqual([
    { jsonrpc: '2.0', id: 'a', result: 3 },
    {
      jsonrpc: '2.0',
      id: 'b',
      error: { code: rpcCodes.refused, message: 'no', data: { code: 'sponsor.token', retryable: false } },
    },
    { jsonrpc: '2.0', id: null, error: expect.objectContaining({ code: rpcCodes.unknownMethod }) },
  ])
  expect((await post([notification])).status).toBe(204)
})

test.each<[string, unknown, number]>([
  ['no JSON', '{', rpcCodes.parse],
  ['no version', { id: 1, method: 'who' }, rpcCodes.invalidRequest],
  ['an empty batch', [], rpcCodes.invalidRequest],
  ['a batch that is too long', Array.from({ length: maxBatch + 1 }, () => call('who')), rpcCodes.invalidRequest],
  ['a method of every object', call('constructor'), rpcCodes.unknownMethod],
  ['named params', { ...call('who'), params: { a: 1 } }, rpcCodes.invalidRequest],
])('%s is a JSON-RPC error', async (_, body, code) => {
  expect(await (await post(body)).json()).toMatchObject({ error: { code } })
})

test('a body of more than a megabyte is not read', async () => {
  expect((await post(`"${'x'.repeat(1024 * 1024)}"`)).status).toBe(413)
})

test('what a crash said stays inside', async () => {
  expect(JSON.stringify(await (await post(call('crash'))).json())).not.toContain('secret')
})

test('an answer tells the trace of its call: the one it came with, else a new one', async () => {
  const header = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00'
  const headers = { authorization: `Bearer ${operatorApiKey}` }
  const body = JSON.stringify(call('who'))
  const given = await app().request('/', { method: 'POST', headers: { ...headers, traceparent: header }, body })
  expect(given.headers.get('traceresponse')).toBe(header)
  const alone = await app().request('/', { method: 'POST', headers, body })
  expect(alone.headers.get('traceresponse')).toContain('5d1f8c2e7f5b4b439d6c9a6a3c1b2e10')
})

test('ready names what is missing, health does not ask', async () => {
  const ready = await app({ postgres: 'ok', chain: 'no answer' }).request('/ready')
  expect(ready.status).toBe(503)
  expect(await ready.json()).toEqual({ status: 'not ready', checks: { postgres: 'ok', chain: 'no answer' } })
  expect((await app({ chain: 'no answer' }).request('/health')).status).toBe(200)
})
