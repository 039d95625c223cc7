import { randomUUID } from 'node:crypto'
import type { ChargesTransport } from '@protocolbanks/stream-protocol'
import { beforeEach, expect, test } from 'vitest'
import { MeterUnavailableError } from '../meter/errors.ts'
import { createChargesApi } from '../payment/chargesApi.ts'
import { createChargesOperations } from '../payment/chargesOperations.ts'
import type { PaymentGate } from '../payment/paymentGate.ts'
import {
  account,
  createTestGateway,
  grantId,
  payee,
  payment,
  price,
  type TestGateway,
} from '../payment/testing/testGateway.ts'
import { createChargesTransport } from './createChargesTransport.ts'

let gateway: TestGateway
let errors: unknown[]
beforeEach(async () => {
  gateway = createTestGateway()
  await gateway.ready()
  errors = []
})

function operationsOptions(gate: PaymentGate = gateway.gate) {
  return { gate, services: gateway.services, createTicketId: randomUUID, outcomeTimeoutMs: 60_000 }
}

function transportOver(gate?: PaymentGate): ChargesTransport {
  const operations = createChargesOperations(operationsOptions(gate))
  return createChargesTransport({ operations, merchantId: 'mer_1', onError: (error) => errors.push(error) })
}

const waitMs = 10_000

function bodyOf(ticket: string, paymentSignature: string | null): string {
  const url = 'https://merchant.test/weather'
  return JSON.stringify({ service: 'weather', method: 'GET', url, paymentSignature, ticket })
}

async function charged(): Promise<bigint> {
  return (await gateway.meter.read(account, grantId))?.channels[payee]?.charged ?? 0n
}

test('a call is charged, and released, as over HTTP', async () => {
  const transport = transportOver()
  const [first, second] = [randomUUID(), randomUUID()]
  for (const [ticket, cumulative] of [
    [first, price],
    [second, price * 2n],
  ] as const) {
    const answer = await transport('charge', {
      ticket,
      body: bodyOf(ticket, payment(gateway.service, cumulative)),
      waitMs,
    })
    expect([answer.status, JSON.parse(answer.text)]).toMatchObject([200, { outcome: 'charged', ticket }])
  }
  expect(await transport('served', { ticket: first, waitMs })).toEqual({ status: 200, text: '{"released":false}' })
  expect(await transport('release', { ticket: second, waitMs })).toEqual({ status: 200, text: '{"released":true}' })
  expect(await charged()).toBe(price)
  expect(errors).toEqual([])
})

test('what is refused has the status and the text that it has over HTTP', async () => {
  const transport = transportOver()
  const api = createChargesApi({ ...operationsOptions(), merchantOf: async () => 'mer_1' })
  const ticket = randomUUID()
  const requests = [
    ['charge', '/', bodyOf(ticket, null)],
    ['charge', '/', bodyOf(ticket, 'no payment')],
    ['charge', '/', '{'],
    ['charge', '/', '{"service":"other"}'],
    ['charge', '/', undefined],
    ['served', `/${ticket}/served`, undefined],
    ['capture', `/${ticket}/capture`, '{"amountAtomic":"1"}'],
    ['extend', `/${ticket}/extend`, '{"amountAtomic":"1"}'],
    ['settle', `/${ticket}/settle`, undefined],
    ['release', `/${ticket}/release`, undefined],
  ] as const
  for (const [operation, path, body] of requests) {
    const response = await api.request(path, { method: 'POST', ...(body !== undefined && { body }) })
    const expected = { status: response.status, text: await response.text() }
    expect(await transport(operation, { ticket, body, waitMs })).toEqual(expected)
  }
})

test('while the meter is away the answer is 503, and what nobody expected is 500 and told', async () => {
  const away = {
    ...gateway.gate,
    authorize: async () => Promise.reject(new MeterUnavailableError('The store does not answer.')),
  }
  const ticket = randomUUID()
  const body = bodyOf(ticket, payment(gateway.service, price))
  const unavailable = await transportOver(away)('charge', { ticket, body, waitMs })
  expect([unavailable.status, JSON.parse(unavailable.text)]).toMatchObject([503, { code: 'meter.unavailable' }])
  expect(errors).toEqual([])

  const failure = new Error('nobody knows')
  const broken = { ...gateway.gate, authorize: async () => Promise.reject(failure) }
  expect(await transportOver(broken)('charge', { ticket, body, waitMs })).toEqual({ status: 500, text: '' })
  expect(errors).toEqual([failure])
})

test('an answer that is late is given up, and its charge is released by its ticket', async () => {
  let go = () => {}
  const gate: PaymentGate = {
    ...gateway.gate,
    async authorize(request) {
      await new Promise<void>((resolve) => {
        go = resolve
      })
      return gateway.gate.authorize(request)
    },
  }
  const transport = transportOver(gate)
  const ticket = randomUUID()
  const body = bodyOf(ticket, payment(gateway.service, price))
  await expect(transport('charge', { ticket, body, waitMs: 50 })).rejects.toMatchObject({ name: 'TimeoutError' })
  expect(await transport('release', { ticket, waitMs })).toMatchObject({ status: 404 })
  go()
  // Whether it is not charged yet or not any more: in the end it is not.
  await expect
    .poll(async () => [(await gateway.meter.read(account, grantId))?.channels[payee]?.authorized, await charged()])
    .toEqual([price, 0n])
})
