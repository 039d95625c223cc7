import { decodeHeader, sessionReceiptSchema, settleResponseSchema } from '@protocolbanks/stream-protocol'
import { parseTraceparent } from '@protocolbanks/stream-runtime'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { partitionOf } from '../meter/partitionOf.ts'
import {
  account,
  createTestGateway,
  newRequestId,
  paid,
  payment,
  price,
  type TestGateway,
} from '../payment/testing/testGateway.ts'
import { startTestUpstream, type TestUpstream } from '../payment/testing/testUpstream.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const parentSpanId = 'b7ad6b7169203331'

let upstream: TestUpstream
let gateway: TestGateway
beforeEach(async () => {
  upstream = await startTestUpstream()
  gateway = createTestGateway({ upstream: upstream.url })
  await gateway.ready()
})
afterEach(() => upstream.stop())

function call(
  path: string,
  cumulativeAmount: bigint,
  headers: Record<string, string> = {},
  requestId = newRequestId(),
) {
  const options = paid(payment(gateway.service, cumulativeAmount, requestId))
  return gateway.app.request(path, { headers: { ...options.headers, ...headers } })
}

function traceOf(response: Response) {
  return parseTraceparent(response.headers.get('traceresponse') ?? undefined)
}

function receiptTraceOf(response: Response): string | undefined {
  const receipt = decodeHeader(response.headers.get('payment-response') ?? '', settleResponseSchema)
  return receipt.ok ? sessionReceiptSchema.parse(receipt.value.extra).traceId : undefined
}

test('a call without a trace gets one: the same in its answer, its receipt, its usage event and at the upstream', async () => {
  const response = await call('/weather/echo', price)
  const trace = traceOf(response)
  expect(trace?.traceId).toMatch(/^[0-9a-f]{12}7[0-9a-f]{19}$/)
  expect(receiptTraceOf(response)).toBe(trace?.traceId)
  const [event] = await gateway.meter.readUsage(partitionOf(account), 10)
  expect(parseTraceparent(event?.record.trace)).toEqual(trace)
  const { headers } = (await response.json()) as { headers: Record<string, string> }
  expect(parseTraceparent(headers.traceparent)).toEqual(trace)
})

test("a caller's trace is gone on with", async () => {
  const response = await call('/weather/paris', price, { traceparent: `00-${traceId}-${parentSpanId}-00` })
  expect(traceOf(response)?.traceId).toBe(traceId)
  expect(receiptTraceOf(response)).toBe(traceId)
})

test('a caller cannot make us record a trace, nor break a request with a malformed one', async () => {
  const asked = await call('/weather/paris', price, { traceparent: `00-${traceId}-${parentSpanId}-01` })
  expect(traceOf(asked)).toMatchObject({ traceId, isSampled: false })
  const malformed = await call('/weather/paris', 2n * price, { traceparent: `00-${'0'.repeat(32)}-1-x'` })
  expect(malformed.status).toBe(200)
  expect(traceOf(malformed)?.traceId).not.toBe('0'.repeat(32))
})

test('refusals and failures have their trace too, and every request another', async () => {
  const responses = [
    await gateway.app.request('/weather/paris'),
    await call('/weather/fail', price),
    await gateway.app.request('/nothing/here'),
  ]
  expect(responses.map(({ status }) => status)).toEqual([402, 500, 404])
  const ids = responses.map((response) => traceOf(response)?.traceId)
  expect(new Set(ids).size).toBe(3)
  expect(ids).not.toContain(undefined)
})

test('a retry has a trace of its own, and no receipt that calls it the trace of the charge', async () => {
  const requestId = newRequestId()
  const first = await call('/weather/paris', price, {}, requestId)
  const again = await call('/weather/paris', price, {}, requestId)
  expect(receiptTraceOf(first)).toBe(traceOf(first)?.traceId)
  expect(receiptTraceOf(again)).toBeUndefined()
  expect(traceOf(again)?.traceId).not.toBe(traceOf(first)?.traceId)
})
