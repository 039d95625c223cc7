import { decodeHeader, type Problem, paymentRequiredSchema, sessionExtraSchema } from '@protocolbanks/stream-protocol'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  createTestGateway,
  grantId,
  newRequestId,
  paid,
  payment,
  price,
  type TestGateway,
} from './testing/testGateway.ts'
import { startTestUpstream, type TestUpstream } from './testing/testUpstream.ts'

let upstream: TestUpstream
beforeEach(async () => {
  upstream = await startTestUpstream()
})
afterEach(() => upstream.stop())

async function openGateway(service: Parameters<typeof createTestGateway>[0] & object): Promise<TestGateway> {
  const gateway = createTestGateway({ upstream: upstream.url, ...service })
  await gateway.ready()
  return gateway
}

async function call({ app, service }: TestGateway, calls: bigint, requestId = newRequestId()): Promise<Response> {
  return app.request('/weather/today', paid(payment(service, price * calls, requestId)))
}

async function problemOf(response: Response): Promise<Problem & { status: number }> {
  return { ...((await response.json()) as Problem), status: response.status }
}

test('what a merchant takes on credit is served to the last unit; then calls are refused for a while, and say which limit', async () => {
  const credit = { mode: 'credit', version: 1, maxPerGrant: 2n * price } as const
  const gateway = await openGateway({ service: { credit } })
  expect((await call(gateway, 1n)).status).toBe(200)
  const second = newRequestId()
  expect((await call(gateway, 2n, second)).status).toBe(200)
  const refused = await call(gateway, 3n)
  expect(refused.headers.get('retry-after')).toBe('5')
  // No offer: paying otherwise is not what is asked for.
  expect(refused.headers.get('payment-required')).toBeNull()
  expect(await problemOf(refused)).toMatchObject({
    status: 429,
    code: 'limit.exposure',
    detail: 'Limit: what one grant may owe this merchant.',
  })
  // A repeat of what was served stays free, whatever is owed.
  expect((await call(gateway, 2n, second)).status).toBe(200)

  const [grant] = gateway.accountState.grants
  const channels = [
    { payee: gateway.service.payee, authorized: 0n, charged: 0n, settled: price, status: 'active' as const },
  ]
  await gateway.meter.mirror({
    ...gateway.accountState,
    block: 2n,
    grants: grant ? [{ ...grant, settled: price, channels }] : [],
  })
  expect((await call(gateway, 3n)).status).toBe(200)
  expect((await call(gateway, 4n)).status).toBe(429)
  expect(gateway.outcomes.filter((outcome) => outcome === 'served')).toHaveLength(3)
})

test('a merchant who takes no credit offers reserves alone, and refuses a grant that is paid from an allowance', async () => {
  const gateway = await openGateway({ service: { credit: { mode: 'reserve_only', version: 1 } } })
  const response = await call(gateway, 1n)
  const required = decodeHeader(response.headers.get('payment-required') ?? '', paymentRequiredSchema)
  const [accepted] = required.ok ? required.value.accepts : []
  expect(sessionExtraSchema.parse(accepted?.extra).sources).toEqual(['reserve'])
  expect(await problemOf(response)).toMatchObject({ status: 402, code: 'credit.refused' })
  const [grant] = gateway.accountState.grants
  expect((await gateway.meter.read(gateway.accountState.account, grantId))?.owed).toBe(0n)
  expect(grant?.source).toBe('allowance')
})
