import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createPaymentEvents, type PaymentEvent } from './paymentEvents.ts'

function readIn(text: string, cuts: number[]): { found: PaymentEvent[]; served: number } {
  const bytes = new TextEncoder().encode(text)
  const events = createPaymentEvents()
  const found: PaymentEvent[] = []
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  let from = 0
  for (const to of [...places, bytes.length]) {
    found.push(...events.push(bytes.subarray(from, to)))
    from = to
  }
  return { found, served: events.served }
}

test('payment events are found among others, wherever the chunks are cut and however lines end', () => {
  const lines = [
    ': a comment',
    '',
    'data: {"text":"event: payment-receipt"}',
    '',
    'event: payment-need-voucher',
    'data: {"required":1}',
    '',
    'id: 7',
    'event: delta',
    'data: grüße',
    'data:',
    '',
    'data: {',
    'data:}',
    'event:payment-receipt',
    '',
    'event: payment-error',
    'data: cut off before its end',
  ]
  const expected = {
    found: [
      { type: 'payment-need-voucher', data: '{"required":1}' },
      { type: 'payment-receipt', data: '{\n}' },
    ],
    served: 2,
  }
  fc.assert(
    fc.property(fc.constantFrom('\n', '\r\n', '\r'), fc.array(fc.nat(1_000)), (end, cuts) => {
      expect(readIn(lines.join(end), cuts)).toEqual(expected)
    }),
  )
})

test('nothing larger than a voucher could need is kept: such an event is the service’s own', () => {
  const long = `event: payment-need-voucher\ndata: ${'x'.repeat(20_000)}\n\n`
  const many = `event: payment-need-voucher\n${'data: x\n'.repeat(10_000)}\n`
  expect(readIn(`${long}${many}event: payment-receipt\ndata: 1\n\n`, [])).toEqual({
    found: [{ type: 'payment-receipt', data: '1' }],
    served: 2,
  })
})
