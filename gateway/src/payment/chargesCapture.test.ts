import { randomUUID } from 'node:crypto'
import {
  decodeHeader,
  formatPricing,
  type Pricing,
  paymentRequiredSchema,
  settleResponseSchema,
} from '@protocolbanks/stream-protocol'
import { beforeEach, expect, test } from 'vitest'
import { partitionOf } from '../meter/partitionOf.ts'
import { createChargesApi } from './chargesApi.ts'
import { holdCharges } from './testing/holdCharges.ts'
import {
  account,
  createTestGateway,
  grantId,
  newRequestId,
  payee,
  payment,
  price,
  type TestGateway,
} from './testing/testGateway.ts'

type Answer = Record<string, unknown> & { http: number; headers: Record<string, string> }

let gateway: TestGateway
let api: ReturnType<typeof createChargesApi>

beforeEach(async () => {
  gateway = createTestGateway()
  await gateway.ready()
  api = createChargesApi({
    gate: gateway.gate,
    services: gateway.services,
    merchantOf: async () => 'mer_1',
    createTicketId: randomUUID,
    outcomeTimeoutMs: 60_000,
  })
})

async function post(path: string, body: object = {}): Promise<Answer> {
  const response = await api.request(path, {
    method: 'POST',
    headers: { authorization: 'Bearer pb_mine', 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return { ...((await holdCharges(api, path, response)) as Answer), http: response.status }
}

function charge(paymentSignature: string | null, more: object = {}): Promise<Answer> {
  const url = 'https://merchant.test/weather'
  return post('/', { service: 'weather', method: 'GET', url, paymentSignature, ...more })
}

const pricing: Pricing = { kind: 'unit', unit: 'page', rate: { price: 1n, per: 1n } }
const byUse = { pricing: formatPricing(pricing, 0) }

/** A payment for the offer of what is priced by use, of a voucher over so much. */
async function paymentByUse(cumulativeAmount: bigint, requestId = newRequestId()): Promise<string> {
  const { headers } = await charge(null, byUse)
  const offer = decodeHeader(headers['payment-required'] ?? '', paymentRequiredSchema)
  const accepted = offer.ok ? { ...offer.value.accepts[0] } : {}
  return payment(gateway.service, cumulativeAmount, requestId, { accepted })
}

async function chargeByUse(cumulativeAmount: bigint, requestId?: string): Promise<Answer> {
  return charge(await paymentByUse(cumulativeAmount, requestId), byUse)
}

async function channel() {
  const known = (await gateway.meter.read(account, grantId))?.channels[payee]
  return { charged: known?.charged, authorized: known?.authorized }
}

function receiptOf({ headers }: Answer) {
  const read = decodeHeader(headers['payment-response'] ?? '', settleResponseSchema)
  if (!read.ok) throw new Error(read.reason)
  return read.value
}

async function sumOfEvents(): Promise<bigint> {
  const events = await gateway.meter.peekUsage(partitionOf(account), undefined, 100)
  return events.reduce((sum, { amount }) => sum + amount, 0n)
}

test('a captured call costs what it used, and its receipt says so', async () => {
  const { ticket } = await charge(payment(gateway.service, price))
  const captured = await post(`/${ticket}/capture`, { amountAtomic: '123' })
  expect(captured).toMatchObject({ http: 200, amountAtomic: '123' })
  expect(receiptOf(captured)).toMatchObject({ amount: '123', extra: { charged: '123' } })
  expect(await post(`/${ticket}/served`)).toMatchObject({ http: 200 })
  expect(await channel()).toEqual({ charged: 123n, authorized: price })
  expect(await sumOfEvents()).toBe(123n)
})

test('a call is captured once, whatever is asked afterwards', async () => {
  const { ticket } = await charge(payment(gateway.service, price))
  await post(`/${ticket}/capture`, { amountAtomic: '5' })
  expect(await post(`/${ticket}/capture`, { amountAtomic: '50' })).toMatchObject({ amountAtomic: '5' })
  expect(await post(`/${ticket}/extend`, { amountAtomic: '50' })).toMatchObject({ http: 404, code: 'ticket.unknown' })
  expect(await post(`/${ticket}/release`)).toMatchObject({ released: false })
  expect(await channel()).toMatchObject({ charged: 5n })
})

test('a call that used nothing costs nothing', async () => {
  const { ticket } = await charge(payment(gateway.service, price))
  expect(await post(`/${ticket}/capture`, { amountAtomic: '0' })).toMatchObject({ amountAtomic: '0' })
  await post(`/${ticket}/served`)
  expect(await channel()).toMatchObject({ charged: 0n })
  expect(await sumOfEvents()).toBe(0n)
})

test('a call holds no more than the request allows, though its offer names the most', async () => {
  const first = await charge(null, byUse)
  const offer = decodeHeader(first.headers['payment-required'] ?? '', paymentRequiredSchema)
  expect(offer).toMatchObject({ ok: true, value: { accepts: [{ amount: `${price}`, extra: byUse }] } })
  const { outcome } = await charge(await paymentByUse(price), { ...byUse, holdAtomic: '40' })
  expect(outcome).toBe('charged')
  expect(await channel()).toMatchObject({ charged: 40n })
  expect(await charge(null, { holdAtomic: `${price + 1n}` })).toMatchObject({ http: 400, code: 'request.invalid' })
})

test('what a call used above its hold is charged as far as the newest voucher goes', async () => {
  const held = { ...byUse, holdAtomic: '40' }
  const { ticket } = await charge(await paymentByUse(90n), held)
  expect(await post(`/${ticket}/capture`, { amountAtomic: '90' })).toMatchObject({ amountAtomic: '90' })
  expect(await channel()).toMatchObject({ charged: 90n })
  const next = await charge(await paymentByUse(130n), held)
  expect(await post(`/${next.ticket}/capture`, { amountAtomic: '41' })).toMatchObject({ amountAtomic: '40' })
  expect(await sumOfEvents()).toBe(130n)
})

test('a fixed price is captured at that price at most, whatever the voucher allows, and has no second segment', async () => {
  for (const more of [{}, { pricing: { kind: 'call' } }]) {
    const { charged = 0n } = await channel()
    const { ticket } = await charge(payment(gateway.service, charged + price * 5n), more)
    const extended = await post(`/${ticket}/extend`, { amountAtomic: '1' })
    expect(extended).toMatchObject({ http: 400, code: 'request.invalid' })
    const captured = await post(`/${ticket}/capture`, { amountAtomic: `${price * 5n}` })
    expect(captured).toMatchObject({ http: 200, amountAtomic: `${price}` })
    expect(receiptOf(captured)).toMatchObject({ amount: `${price}` })
    expect(await channel()).toMatchObject({ charged: charged + price })
  }
  expect(await sumOfEvents()).toBe(price * 2n)
})

test('a call that held less than its fixed price is captured at the price at most', async () => {
  const { ticket } = await charge(payment(gateway.service, price * 2n), { holdAtomic: '40' })
  expect(await post(`/${ticket}/capture`, { amountAtomic: `${price + 1n}` })).toMatchObject({
    amountAtomic: `${price}`,
  })
  expect(await sumOfEvents()).toBe(price)
})

test('the pricing of the service counts where a charge does not say its own', async () => {
  Object.assign(gateway.service, { pricing })
  const { ticket } = await charge(await paymentByUse(price * 2n))
  expect(await post(`/${ticket}/extend`, { amountAtomic: '10' })).toMatchObject({ outcome: 'charged' })
})

test('an amount of the merchant is a fixed price, though the service is priced by use', async () => {
  Object.assign(gateway.service, { pricing })
  const { headers } = await charge(null, { amountAtomic: `${price}` })
  const offer = decodeHeader(headers['payment-required'] ?? '', paymentRequiredSchema)
  const accepted = offer.ok ? { ...offer.value.accepts[0] } : {}
  expect(accepted).toMatchObject({ amount: `${price}` })
  expect(accepted).not.toHaveProperty('extra.pricing')
  const paid = payment(gateway.service, price, newRequestId(), { accepted })
  const { ticket } = await charge(paid, { amountAtomic: `${price}` })
  expect(await post(`/${ticket}/extend`, { amountAtomic: '10' })).toMatchObject({ http: 400, code: 'request.invalid' })
})

test('a segment is the offered amount at most, and a capture that amount for each segment charged', async () => {
  const { ticket } = await chargeByUse(price * 10n)
  expect(await post(`/${ticket}/extend`, { amountAtomic: `${price * 4n}`, segment: 2 })).toMatchObject({
    outcome: 'charged',
    heldAtomic: `${price * 2n}`,
  })
  expect(await channel()).toMatchObject({ charged: price * 2n })
  const captured = await post(`/${ticket}/capture`, { amountAtomic: `${price * 9n}` })
  expect(captured).toMatchObject({ amountAtomic: `${price * 2n}` })
  expect(await sumOfEvents()).toBe(price * 2n)
})

test('a call by use that has one segment is captured at the offered amount at most', async () => {
  const { ticket } = await chargeByUse(price * 10n)
  expect(await post(`/${ticket}/capture`, { amountAtomic: `${price * 9n}` })).toMatchObject({
    amountAtomic: `${price}`,
  })
})

test('a stream is charged segment by segment, each once, and the last as far as it was used', async () => {
  const { ticket } = await chargeByUse(price * 3n)
  for (const segment of [2, 2, 3]) {
    expect(await post(`/${ticket}/extend`, { amountAtomic: `${price}`, segment })).toMatchObject({ outcome: 'charged' })
  }
  expect(await channel()).toMatchObject({ charged: price * 3n })
  const captured = await post(`/${ticket}/capture`, { amountAtomic: `${price * 2n + 7n}` })
  expect(receiptOf(captured)).toMatchObject({ amount: `${price * 2n + 7n}`, extra: { charged: `${price * 2n + 7n}` } })
  await post(`/${ticket}/served`)
  expect(await sumOfEvents()).toBe(price * 2n + 7n)
})

test('a segment that was used in part is final at that before the next is held', async () => {
  const { ticket } = await chargeByUse(price * 3n)
  await post(`/${ticket}/extend`, { amountAtomic: `${price}`, usedAtomic: '30' })
  expect(await channel()).toMatchObject({ charged: 30n + price })
  expect(await post(`/${ticket}/capture`, { amountAtomic: '45' })).toMatchObject({ amountAtomic: '45' })
  expect(await sumOfEvents()).toBe(45n)
})

test('a stream whose voucher is used up goes on with the next, which is charged nothing itself', async () => {
  const requestId = newRequestId()
  const { ticket } = await chargeByUse(price, requestId)
  expect(await post(`/${ticket}/extend`, { amountAtomic: '100', segment: 2 })).toMatchObject({
    outcome: 'exhausted',
    requiredCumulative: `${price + 100n}`,
    acceptedCumulative: `${price}`,
  })
  const voucher = payment(gateway.service, price + 100n, newRequestId(), {
    extensions: { 'payment-identifier': { info: { id: newRequestId() } }, session: { voucherFor: requestId } },
  })
  for (let times = 0; times < 2; times++) {
    expect(await charge(voucher)).toMatchObject({ outcome: 'answer', status: 204 })
    expect(await channel()).toEqual({ charged: price, authorized: price + 100n })
  }
  expect(await post(`/${ticket}/extend`, { amountAtomic: '100', segment: 2 })).toMatchObject({ outcome: 'charged' })
  await post(`/${ticket}/capture`, { amountAtomic: `${price + 60n}` })
  expect(await channel()).toMatchObject({ charged: price + 60n })
})

test('a voucher for a stream has to be signed by the session key like any other', async () => {
  const extensions = { 'payment-identifier': { info: { id: newRequestId() } }, session: { voucherFor: newRequestId() } }
  const forged = payment(gateway.service, price, newRequestId(), { extensions, key: `0x${'77'.repeat(32)}` })
  expect(await charge(forged)).toMatchObject({ outcome: 'answer', status: 402 })
  expect((await channel()).authorized ?? 0n).toBe(0n)
})

test('what nobody captures or reports stays charged as it was held', async () => {
  const { ticket } = await chargeByUse(price * 2n)
  await post(`/${ticket}/extend`, { amountAtomic: '100' })
  await post(`/${ticket}/served`)
  expect(await channel()).toMatchObject({ charged: price + 100n })
})
