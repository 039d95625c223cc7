import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeHeader, encodeHeader, maxHeaderLength } from './headers.ts'
import { atomicAmountSchema, paymentPayloadSchema, requestIdSchema } from './schemas.ts'
import { sessionPayloadSchema } from './session.ts'

const payment = {
  x402Version: 2,
  accepted: {
    scheme: 'session',
    network: 'eip155:31337',
    amount: '10000',
    asset: '0x5fbdb2315678afecb367f032d93f642f64180aa3',
    payTo: '0x70997970c51812dc3a010c7d01b50e0d17dc79c8',
    maxTimeoutSeconds: 60,
  },
  payload: { grantId: `0x${'ab'.repeat(32)}`, cumulativeAmount: '10000', signature: `0x${'11'.repeat(65)}` },
  extensions: { 'payment-identifier': { info: { id: 'req_0123456789abcdef' } } },
}

test('a payment header decodes to what was encoded, with any text in it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (description) => {
      const value = { ...payment, resource: { url: 'https://api.example/weather', description } }
      expect(decodeHeader(encodeHeader(value), paymentPayloadSchema)).toEqual({ ok: true, value })
    }),
  )
})

test('no header whatsoever makes the decoder throw', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.json().map((text) => btoa(encodeURIComponent(text))),
      ),
      (header) => {
        expect(decodeHeader(header, paymentPayloadSchema).ok).toBe(false)
      },
    ),
  )
})

test('a header above the bound is refused before it is read', () => {
  const result = decodeHeader('A'.repeat(maxHeaderLength + 1), paymentPayloadSchema)
  expect(result).toEqual({ ok: false, reason: `is longer than ${maxHeaderLength} characters` })
})

test.each(['-1', '1.5', '01', '', '1e3', (2n ** 128n).toString(), '9'.repeat(60)])(
  'refuses %j as an atomic amount',
  (text) => {
    expect(atomicAmountSchema.safeParse(text).success).toBe(false)
  },
)

test.each(['short', 'x'.repeat(129), 'has spaces in its text', 'né'.repeat(10)])(
  'refuses %j as a request id',
  (text) => {
    expect(requestIdSchema.safeParse(text).success).toBe(false)
  },
)

test('a session payload with a field we do not know is refused', () => {
  expect(sessionPayloadSchema.safeParse({ ...payment.payload, extra: 1 }).success).toBe(false)
})
