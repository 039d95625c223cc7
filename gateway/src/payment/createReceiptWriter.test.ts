import { decodeHeader, settleResponseSchema } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { bytesToHex, getAddress } from 'viem'
import { expect, test } from 'vitest'
import { createReceiptWriter, toSettleResponse } from './createReceiptWriter.ts'

const network = 'eip155:31337'
const hexOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => bytesToHex(bytes))
const addressOf = hexOf(20).map((hex) => getAddress(hex))
const amountOf = fc.bigInt(0n, 2n ** 128n)
/** Also with what JSON escapes. */
const textOf = fc.oneof(fc.stringMatching(/^[\w.:-]{16,40}$/), fc.string({ unit: 'binary' }))

test('a receipt by hand is the receipt of JSON.stringify, to the byte', () => {
  fc.assert(
    fc.property(
      fc.record({
        ticket: fc.record({
          account: addressOf,
          payee: addressOf,
          grantId: hexOf(32),
          requestId: textOf,
          amount: amountOf,
          eventId: textOf,
        }),
        channel: fc.record({ authorized: amountOf, charged: amountOf, settled: amountOf }),
        service: textOf,
        source: fc.constantFrom('allowance' as const, 'reserve' as const),
        traceId: fc.option(fc.oneof(hexOf(16), textOf), { nil: undefined }),
      }),
      (receipt) => {
        const expected = JSON.stringify(toSettleResponse(network, receipt))
        const written = createReceiptWriter(network)(receipt)
        expect(Buffer.from(written, 'base64').toString()).toBe(Buffer.from(expected).toString())
      },
    ),
  )
})

test('a receipt is read by what clients read it with', () => {
  const hex = `0x${'ab'.repeat(32)}` as const
  const account = getAddress(`0x${'12'.repeat(20)}`)
  const ticket = { account, payee: account, grantId: hex, requestId: 'a'.repeat(16), amount: 10n, eventId: 'p0-1' }
  const channel = { authorized: 20n, charged: 10n, settled: 0n }
  const header = createReceiptWriter(network)({
    ticket,
    channel,
    service: 'svc_1',
    source: 'reserve',
    traceId: undefined,
  })
  expect(decodeHeader(header, settleResponseSchema)).toMatchObject({
    ok: true,
    value: { payer: account, amount: '10' },
  })
})
