import { expect, test } from 'vitest'
import { sessionRequirements } from './offer.ts'
import { readAsWritten } from './readAsWritten.ts'
import { readWithSchemas } from './readPayment.ts'
import { chain, createTestGateway, newRequestId, payment, price } from './testing/testGateway.ts'

const { service } = createTestGateway()
const services = {
  'a fixed price': service,
  'a price by use': { ...service, pricing: { kind: 'byte' as const, rate: { price: 1n, per: 1_000n } } },
  'a path of other letters': { ...service, pathPrefix: '/größe/"天気"' },
}

test.each(Object.entries(services))('%s: what a client of ours writes is read by the letter', (_, sold) => {
  const header = payment(sold, price, newRequestId())
  const offer = sessionRequirements(chain, sold, price)
  const read = readAsWritten(header, offer)
  expect(read).toMatchObject({ cumulativeAmount: price })
  expect({ ok: true, payment: read }).toEqual(readWithSchemas(header, offer))
})

test('what says the same otherwise is left to others', () => {
  const offer = sessionRequirements(chain, service, price)
  const json = atob(payment(service, price, newRequestId()))
  const written = (text: string) => Buffer.from(text, 'latin1').toString('base64')
  expect(readAsWritten(written(json), offer)).toBeDefined()
  for (const other of [
    json.replace(':', ': '),
    json.replace('x402Version', 'x402\\u0056ersion'),
    json.replace('"scheme":"session",', '').replace('"extra"', '"scheme":"session","extra"'),
    json.replace('"id":"', '"id":"\u00e9'),
    json.replace('"cumulativeAmount":"', '"cumulativeAmount":"0'),
    `${json} `,
    `${json}\0`,
    json.slice(0, -1),
  ]) {
    expect(readAsWritten(written(other), offer), other).toBeUndefined()
  }
  const header = written(json)
  for (const other of [`${header}====`, ` ${header.slice(0, -1)}`, `${header.slice(0, 4)}----${header.slice(4)}`]) {
    expect(readAsWritten(other, offer), other).toBeUndefined()
  }
})

test('bytes that are no UTF-8 are not read for the letters that they would be', () => {
  const named = { ...service, pathPrefix: '/größe' }
  const text = Buffer.from(payment(named, price, newRequestId()), 'base64').toString()
  const header = Buffer.from(text, 'latin1').toString('base64')
  expect(readAsWritten(header, sessionRequirements(chain, named, price))).toBeUndefined()
})
