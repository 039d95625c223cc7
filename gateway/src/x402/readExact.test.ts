import { encodeHeader, type PaymentRequirements } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readExact } from './readExact.ts'

const offer: PaymentRequirements = {
  scheme: 'exact',
  network: 'eip155:31337',
  amount: '20000',
  asset: '0x5FbDB2315678afecb367f032d93F642f64180aa3',
  payTo: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8',
  maxTimeoutSeconds: 60,
  extra: { name: 'USD Coin', version: '2' },
}
const authorization = {
  from: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266',
  to: offer.payTo,
  value: '20000',
  validAfter: '0',
  validBefore: '4000000000',
  nonce: `0x${'ab'.repeat(32)}`,
}
const payload = { signature: `0x${'11'.repeat(65)}`, authorization }
const payment = { x402Version: 2, accepted: offer, payload }

test('a payment is read to its authorisation, with the id of its request where it has one', () => {
  const read = { authorization: { value: 20_000n, validBefore: 4_000_000_000n }, signature: payload.signature }
  expect(readExact(encodeHeader(payment), offer)).toMatchObject({
    ok: true,
    payment: { ...read, identifier: undefined },
  })
  const named = (info: unknown) =>
    readExact(encodeHeader({ ...payment, extensions: { 'payment-identifier': { info } } }), offer)
  expect(named({ required: false })).toMatchObject({ ok: true, payment: { identifier: undefined } })
  expect(named({ id: 'req_0123456789abcdef' })).toMatchObject({ payment: { identifier: 'req_0123456789abcdef' } })
  for (const id of ['short', 7, null, 'x'.repeat(129), 'has spaces in its text']) {
    expect(named({ id }), String(id)).toMatchObject({ ok: false, code: 'payment.malformed' })
  }
})

test('another scheme is left to others', () => {
  expect(readExact(encodeHeader({ ...payment, accepted: { ...offer, scheme: 'upto' } }), offer)).toEqual({
    ok: false,
    code: 'scheme.unsupported',
  })
})

test('no number of another form, and no field that is not the scheme, is taken', () => {
  const bad = fc.constantFrom('-1', '1.5', '01', '', '1e3', '0x10', ' 1', '9'.repeat(79), 7, null, [], {}, true)
  const name = fc.constantFrom('value', 'validAfter', 'validBefore', 'from', 'to', 'nonce')
  fc.assert(
    fc.property(name, bad, (field, value) => {
      const changed = { ...payload, authorization: { ...authorization, [field]: value } }
      expect(readExact(encodeHeader({ ...payment, payload: changed }), offer)).toMatchObject({
        code: 'payment.malformed',
      })
    }),
  )
  const more = { ...payload, authorization: { ...authorization, extra: '1' } }
  expect(readExact(encodeHeader({ ...payment, payload: more }), offer)).toMatchObject({ code: 'payment.malformed' })
})

test('nothing whatever makes it throw', () => {
  const anything = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.json(),
    fc.json().map((text) => Buffer.from(text).toString('base64')),
  )
  fc.assert(
    fc.property(anything, (header) => {
      expect(readExact(header, offer).ok).toBe(false)
    }),
  )
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (accepted, inner, extensions) => {
      readExact(encodeHeader({ x402Version: 2, accepted, payload: inner, extensions }), offer)
      readExact(encodeHeader({ ...payment, payload: { signature: inner, authorization: accepted }, extensions }), offer)
    }),
  )
})
