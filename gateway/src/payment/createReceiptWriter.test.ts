import {
  canonicalJson,
  decodeHeader,
  receiptText,
  sessionReceiptSchema,
  settleResponseSchema,
  verifyReceipt,
} from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { bytesToHex, getAddress } from 'viem'
import { expect, test } from 'vitest'
import { createReceiptSigner } from './createReceiptSigner.ts'
import { createReceiptWriter, encodeReceipt, type Receipt, toSettleResponse } from './createReceiptWriter.ts'

const network = 'eip155:31337'
const hexOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => bytesToHex(bytes))
const addressOf = hexOf(20).map((hex) => getAddress(hex))
const amountOf = fc.bigInt(0n, 2n ** 128n)
/** Also with what JSON escapes. */
const textOf = fc.oneof(fc.stringMatching(/^[\w.:-]{16,40}$/), fc.string({ unit: 'binary' }))

const eventIdOf = fc
  .tuple(fc.nat(15), fc.integer({ min: 0, max: 8_640_000_000_000_00 }))
  .map(([p, ms]) => `p${p}-${ms}-0`)
const signer = createReceiptSigner(`0x${'7a'.repeat(32)}`)

test('a receipt by hand is its canonical JSON, to the byte, and what is signed is what is read', () => {
  fc.assert(
    fc.property(
      fc.record({
        ticket: fc.record({
          account: addressOf,
          payee: addressOf,
          grantId: hexOf(32),
          requestId: textOf,
          amount: amountOf,
          eventId: fc.oneof(eventIdOf, textOf),
        }),
        channel: fc.record({ authorized: amountOf, charged: amountOf, settled: amountOf }),
        service: textOf,
        source: fc.constantFrom('allowance' as const, 'reserve' as const),
        traceId: fc.option(fc.oneof(hexOf(16), textOf), { nil: undefined }),
      }),
      (receipt) => {
        const expected = canonicalJson(toSettleResponse(network, receipt))
        const written = createReceiptWriter(network)(receipt)
        expect(Buffer.from(written, 'base64').toString()).toBe(Buffer.from(expected).toString())
        const signed: string[] = []
        const recording = { sign: (text: string) => `${signed.push(text)}` }
        const json = Buffer.from(createReceiptWriter(network, recording)(receipt), 'base64').toString()
        expect(json).toBe(canonicalJson(JSON.parse(json)))
        expect(Buffer.from(receiptText(JSON.parse(json))).toString()).toBe(Buffer.from(signed[0] ?? '').toString())
      },
    ),
  )
})

const account = getAddress(`0x${'12'.repeat(20)}`)
const receipt: Receipt = {
  ticket: {
    account,
    payee: account,
    grantId: `0x${'ab'.repeat(32)}`,
    requestId: 'a'.repeat(16),
    amount: 10n,
    eventId: 'p3.17-1763722801234-0',
  },
  channel: { authorized: 20n, charged: 10n },
  service: 'svc_1',
  source: 'reserve',
  traceId: undefined,
}

test('a receipt is read by what clients read it with, and says when it was charged and for whom', () => {
  const read = decodeHeader(createReceiptWriter(network)(receipt), settleResponseSchema)
  expect(read).toMatchObject({ ok: true, value: { payer: account, amount: '10' } })
  expect(read.ok && sessionReceiptSchema.parse(read.value.extra)).toMatchObject({
    payee: account,
    time: '2025-11-21T11:00:01.234Z',
  })
})

test('a signed receipt proves itself to whoever has the public key, and no changed one does', async () => {
  const header = createReceiptWriter(network, signer)(receipt)
  expect(await verifyReceipt(header, [signer.key])).toMatchObject({ ok: true, keyId: signer.key.kid })
  const read = decodeHeader(header, settleResponseSchema)
  if (!read.ok) throw new Error(read.reason)
  const { extra, ...rest } = read.value
  for (const [name, value] of Object.entries({ ...rest, ...extra })) {
    if (name === 'signature') continue
    const changed = typeof value === 'boolean' ? !value : `${value}1`
    const forged = name in rest ? { ...read.value, [name]: changed } : { ...rest, extra: { ...extra, [name]: changed } }
    expect(await verifyReceipt(forged, [signer.key]), name).toMatchObject({ ok: false, reason: 'invalid' })
  }
  const more = { ...rest, extra: { ...extra, note: 'paid twice' } }
  expect(await verifyReceipt(more, [signer.key])).toMatchObject({ ok: false, reason: 'invalid' })
})

test('receipts of every kind are signed in the same way', async () => {
  const exact = { success: true, transaction: `0x${'cd'.repeat(32)}`, network, payer: account, amount: '5' }
  const header = encodeReceipt({ ...exact, extra: { paymentId: 'x402_1', service: 'Wetter für "alle"' } }, signer)
  expect(await verifyReceipt(header, [signer.key])).toMatchObject({ ok: true })
  expect(await verifyReceipt(encodeReceipt(exact, undefined), [signer.key])).toMatchObject({ reason: 'unsigned' })
})
