import type { ChannelBook } from '@protocolbanks/stream-db'
import fc from 'fast-check'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { maxMeterAmount } from '../meter/meter.ts'
import { compareBook, type Observed } from './compareBook.ts'

const grantId = `0x${'ab'.repeat(32)}` as const
const payee = getAddress(`0x${'1'.repeat(40)}`)

const agreeing: ChannelBook = {
  grantId,
  payee,
  grant: undefined,
  cumulativeAmount: 10n,
  signature: '0x11',
  charged: 9n,
  journal: 9n,
  settled: 5n,
  settledBlock: 1n,
  events: 5n,
  writtenOff: 0n,
}
const seen: Observed = { isSigned: true, onChain: 5n, live: 9n }

function found(book: Partial<ChannelBook>, observed: Partial<Observed> = {}) {
  return compareBook({ ...agreeing, ...book }, { ...seen, ...observed }).map(({ kind, expected, actual }) => [
    kind,
    expected,
    actual,
  ])
}

test('books that agree differ nowhere, and each that does not is named with who is right', () => {
  expect(found({})).toEqual([])
  expect(found({ cumulativeAmount: 8n })).toEqual([['voucher_below_charged', 9n, 8n]])
  expect(found({}, { isSigned: false })).toEqual([['voucher_unsigned', 10n, 0n]])
  expect(found({ journal: 8n })).toEqual([['journal', 8n, 9n]])
  expect(found({}, { live: 10n })).toEqual([['meter', 10n, 9n]])
  expect(found({}, { live: 8n })).toEqual([['meter', 9n, 8n]])
  expect(found({ settled: 4n })).toEqual([['settled', 5n, 4n]])
  expect(found({ events: 4n })).toEqual([['events', 5n, 4n]])
})

test('a meter that does not hold the channel, and a channel without a voucher or a charge, are no difference', () => {
  expect(found({}, { live: undefined })).toEqual([])
  const unused = { cumulativeAmount: 0n, signature: null, charged: 0n, journal: 0n }
  expect(found(unused, { isSigned: false, live: 0n })).toEqual([])
  expect(found({ ...unused, charged: 1n, journal: 1n }, { isSigned: false, live: 1n })).toEqual([
    ['voucher_below_charged', 1n, 0n],
    ['voucher_unsigned', 0n, 0n],
  ])
})

test('where the module says nothing of an epoch that is over, its events are the authority', () => {
  expect(found({}, { onChain: undefined })).toEqual([])
  expect(found({ settled: 4n }, { onChain: undefined })).toEqual([['settled', 5n, 4n]])
})

test('a meter counts no further than it can', () => {
  const far = { charged: maxMeterAmount + 5n, journal: maxMeterAmount + 5n, cumulativeAmount: maxMeterAmount + 5n }
  expect(found(far, { live: maxMeterAmount })).toEqual([])
})

test('whatever one figure is changed by, something is found', () => {
  const figure = fc.constantFrom('charged', 'journal', 'settled', 'events')
  fc.assert(
    fc.property(figure, fc.bigInt({ min: 1n, max: 2n ** 96n }), (name, more) => {
      expect(found({ [name]: agreeing[name] + more })).not.toEqual([])
    }),
  )
})
