import { decodeHeader, type Pricing, settleResponseSchema } from '@protocolbanks/stream-protocol'
import { expect, test } from 'vitest'
import { createTestGateway, newRequestId, payment, price } from './testing/testGateway.ts'

const perByte: Pricing = { kind: 'byte', rate: { price: 1n, per: 1n } }

test('a charge is of the shape of all charges, so that nothing of its request outlives it', async () => {
  const gateway = createTestGateway()
  await gateway.ready()
  const { service } = gateway
  const verdict = await gateway.gate.authorize({
    service,
    amount: price,
    url: 'http://gateway.test/weather',
    payment: payment(service, price, newRequestId()),
    fingerprint: () => 'asked',
  })
  if (verdict.kind !== 'serve') throw new Error('It is not served.')
  const own = Object.values(Object.getOwnPropertyDescriptors(verdict.charge))
  expect(own.filter(({ get }) => get !== undefined)).toEqual([])
  verdict.charge.served(undefined)
})

test('the receipt of a retry tells the whole cost, also where that is what the first segment held', async () => {
  const gateway = createTestGateway({ service: { pricing: perByte } })
  await gateway.ready()
  const { service } = gateway
  const request = {
    service,
    amount: price,
    url: 'http://gateway.test/weather',
    payment: payment(service, price, newRequestId()),
    fingerprint: () => 'asked',
  }
  const first = await gateway.gate.authorize(request)
  if (first.kind !== 'serve') throw new Error('It is not served.')
  const { charge } = first
  expect(await charge.extend?.(6_000n, 4_000n)).toMatchObject({ ok: true })
  expect(await charge.capture?.(price)).toMatchObject({ amount: price })
  charge.served(undefined)

  const again = await gateway.gate.authorize(request)
  if (again.kind !== 'refused') throw new Error('It is served again.')
  expect(again.code).toBe('request.answered')
  const receipt = decodeHeader(again.response.headers.get('payment-response') ?? '', settleResponseSchema)
  expect(receipt).toMatchObject({ ok: true, value: { amount: `${price}`, extra: { charged: `${price}` } } })
  expect(await again.response.text()).toContain(`was charged ${price}`)
})
