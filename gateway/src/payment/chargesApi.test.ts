import { randomUUID } from 'node:crypto'
import { beforeEach, expect, test } from 'vitest'
import { ApiRefusal } from '../api/apiProblem.ts'
import { partitionOf } from '../meter/partitionOf.ts'
import { createChargesApi } from './chargesApi.ts'
import { holdCharges } from './testing/holdCharges.ts'
import { account, createTestGateway, grantId, payee, payment, price, type TestGateway } from './testing/testGateway.ts'

type Answer = { outcome: string; ticket: string; status: number; code: string }

let gateway: TestGateway
let api: ReturnType<typeof createChargesApi>

beforeEach(async () => {
  gateway = createTestGateway()
  await gateway.ready()
  api = createChargesApi({
    gate: gateway.gate,
    services: gateway.services,
    merchantOf: async (authorization) => (authorization === 'Bearer pb_mine' ? 'mer_1' : undefined),
    createTicketId: randomUUID,
    outcomeTimeoutMs: 60_000,
    hashClient: (address) => `hash of ${address}`,
  })
})

async function post(path: string, body?: unknown, key = 'pb_mine'): Promise<Answer & { http: number }> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const response = await api.request(path, {
    method: 'POST',
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return { ...((await holdCharges(api, path, response)) as Answer), http: response.status }
}

function charge(paymentSignature: string | null, more: object = {}) {
  return post('/', {
    service: 'weather',
    method: 'GET',
    url: 'https://merchant.test/weather',
    paymentSignature,
    ...more,
  })
}

async function charged(): Promise<bigint> {
  return (await gateway.meter.read(account, grantId))?.channels[payee]?.charged ?? 0n
}

test('a charge that was served stands', async () => {
  const { outcome, ticket } = await charge(payment(gateway.service, price))
  expect(outcome).toBe('charged')
  expect(await post(`/${ticket}/served`)).toMatchObject({ http: 200 })
  expect(await charged()).toBe(price)
})

test('where a call came from is in its usage event as a hash, and not at all when the merchant does not say', async () => {
  await charge(payment(gateway.service, price), { clientAddress: '::ffff:192.0.2.1' })
  await charge(payment(gateway.service, price * 2n))
  const events = await gateway.meter.peekUsage(partitionOf(account), undefined, 10)
  expect(events.map(({ record }) => record.client)).toEqual(['hash of 192.0.2.1', undefined])
})

test('a charge that was released costs nothing', async () => {
  const { ticket } = await charge(payment(gateway.service, price))
  expect(await post(`/${ticket}/release`)).toMatchObject({ http: 200, released: true })
  expect(await charged()).toBe(0n)
})

test('a charge whose answer was lost is released by the ticket that the merchant chose', async () => {
  const ticket = randomUUID()
  await charge(payment(gateway.service, price), { ticket })
  expect(await post(`/${ticket}/release`)).toMatchObject({ released: true })
  expect(await charged()).toBe(0n)
})

test('a release that overtakes its charge wins', async () => {
  const ticket = randomUUID()
  expect(await post(`/${ticket}/release`)).toMatchObject({ http: 404, code: 'ticket.unknown' })
  expect(await charge(payment(gateway.service, price), { ticket })).toMatchObject({ http: 409, code: 'ticket.used' })
  expect(await charged()).toBe(0n)
})

test('a ticket opens one charge only', async () => {
  const ticket = randomUUID()
  await charge(payment(gateway.service, price), { ticket })
  expect(await charge(payment(gateway.service, price * 2n), { ticket })).toMatchObject({
    http: 409,
    code: 'ticket.used',
  })
  expect(await charged()).toBe(price)
})

test('without a payment the answer for the agent is the 402 with the offer', async () => {
  expect(await charge(null)).toMatchObject({
    outcome: 'answer',
    status: 402,
    headers: { 'payment-required': expect.any(String) },
  })
})

test('nobody charges without a key, for a service that is not theirs, or with a malformed request', async () => {
  expect(await post('/', {}, 'pb_other')).toMatchObject({ http: 401, code: 'api_key.invalid' })
  expect(await charge(null, { service: 'other' })).toMatchObject({ http: 404, code: 'service.unknown' })
  expect(await charge(null, { amountAtomic: '-1' })).toMatchObject({ http: 400, code: 'request.invalid' })
})

test('a body that is no JSON, or none, is not valid', async () => {
  const headers = { authorization: 'Bearer pb_mine' }
  for (const body of ['{', '', '[]']) {
    const response = await api.request('/', { method: 'POST', headers, body })
    expect([response.status, await response.json()]).toMatchObject([400, { code: 'request.invalid' }])
    expect(response.headers.get('content-type')).toContain('application/problem+json')
  }
})

test('a body larger than any request has is not read to its end', async () => {
  api.onError((error) => {
    if (error instanceof ApiRefusal) return error.response
    throw error
  })
  expect(await post('/', { service: 'x'.repeat(70_000) })).toMatchObject({ http: 413, code: 'request.too_large' })
})
