import { amountOf, type MeteredPricing } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import type { Charger } from './charger.ts'
import type { ChargesClient } from './chargesClient.ts'
import { createCallMeter } from './createCallMeter.ts'
import { createMeteredCall } from './meteredCall.ts'
import { passStream } from './passStream.ts'

const encode = (text: string) => new TextEncoder().encode(text)
const byByte: MeteredPricing = { kind: 'byte', rate: { price: 1n, per: 3n } }

/** A stream of which `segments` can be held in all, each of 10 base units. */
function setUp({
  contentType = 'application/octet-stream',
  segments = 1_000,
  pricing = byByte,
  voucherAfterMs = Number.POSITIVE_INFINITY,
} = {}) {
  let nowMs = 0
  let waitedMs = 0
  let held = 1
  const captures: bigint[] = []
  const extensions: object[] = []
  const client: Pick<ChargesClient, 'extend' | 'capture'> = {
    async extend(_, asked) {
      extensions.push(asked)
      if (asked.amountAtomic === 0n) return { outcome: 'charged' }
      if (held === segments && waitedMs < voucherAfterMs)
        return { outcome: 'exhausted', requiredCumulative: '20', acceptedCumulative: '10' }
      held++
      return { outcome: 'charged' }
    },
    async capture(_, amount) {
      captures.push(amount)
      return {}
    },
  }
  const meter = createCallMeter({ pricing, requestBytes: 0, now: () => nowMs })
  meter.begin(contentType)
  const stream = passStream({
    ...{ client, ticket: 't', channelId: 'grant:payee', meter, isError: false, holdAtomic: 10n, segmentAtomic: 10n },
    graceMs: 1_000,
    now: () => nowMs,
    async wait(ms) {
      nowMs += Math.max(1, ms)
      waitedMs += Math.max(1, ms)
    },
  })
  const written: Uint8Array[] = []
  const write = (bytes: Uint8Array) => void written.push(bytes)
  const text = () => new TextDecoder().decode(Uint8Array.from(written.flatMap((bytes) => [...bytes])))
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { stream, write, text, captures, extensions, pass }
}

test('bytes pass unchanged however they are cut, and cost what they are', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ maxLength: 90 }), { maxLength: 8 }), async (chunks) => {
      const { stream, write, text, captures } = setUp()
      for (const chunk of chunks) expect(await stream.pass(encode(chunk), write)).toBe(true)
      await stream.finish(write)
      expect(text()).toBe(chunks.join(''))
      expect(captures).toEqual([amountOf(byByte, { bytes: encode(chunks.join('')).length })])
    }),
  )
})

test('a stream that is not paid any further is cut at the last byte that is, and costs that', async () => {
  const { stream, write, text, captures } = setUp({ segments: 2 })
  expect(await stream.pass(encode('x'.repeat(100)), write)).toBe(false)
  expect([text(), captures]).toEqual(['x'.repeat(60), [20n]])
})

test('what a slow stream delivered becomes final while it is kept open, and what was held besides is held again', async () => {
  const { stream, write, captures, extensions } = setUp()
  expect(await stream.pass(encode('x'.repeat(12)), write)).toBe(true)
  await stream.keepOpen()
  // Nobody reads: nothing is open at the gateway.
  await stream.keepOpen()
  expect(extensions).toEqual(Array(2).fill({ amountAtomic: 0n, usedAtomic: 4n }))
  expect(await stream.pass(encode('x'.repeat(6)), write)).toBe(true)
  expect(extensions[2]).toEqual({ amountAtomic: 6n, usedAtomic: undefined, segment: 2 })
  await stream.finish(write)
  expect(captures).toEqual([6n])
})

test('a voucher is asked for between whole events alone, and one event is let through that began before', async () => {
  const { stream, write, text, captures } = setUp({ contentType: 'text/event-stream', segments: 1 })
  expect(await stream.pass(encode('data: 0123456789\n\nda'), write)).toBe(true)
  expect(await stream.pass(encode('ta: 0123456789\n\n'), write)).toBe(true)
  expect(await stream.pass(encode('data: next\n\n'), write)).toBe(false)
  const [, before = '', asked = ''] =
    /^((?:data: \d+\n\n)*)event: payment-need-voucher\ndata: (.*)\n\n/.exec(text()) ?? []
  expect(before).toBe('data: 0123456789\n\ndata: 0123456789\n\n')
  expect(JSON.parse(asked)).toEqual({
    channelId: 'grant:payee',
    requiredCumulative: '20',
    acceptedCumulative: '10',
  })
  expect(text()).toMatch(/event: payment-error\ndata: .*"code":"voucher.exhausted".*\n\n$/)
  expect(captures).toEqual([10n])
})

test('the time in which a stream waits for a voucher is not paid for', async () => {
  const pricing: MeteredPricing = { kind: 'second', rate: { price: 10n, per: 1n } }
  const { stream, write, captures, pass } = setUp({ segments: 1, pricing, voucherAfterMs: 600 })
  pass(900)
  expect(await stream.pass(encode('first'), write)).toBe(true)
  pass(500)
  // A second is held: the next piece waits for a voucher.
  expect(await stream.pass(encode('second'), write)).toBe(true)
  pass(100)
  await stream.finish(write)
  expect(captures).toEqual([15n])
})

test('a reader that leaves pays for what was delivered, once', async () => {
  const { stream, write, captures } = setUp()
  await stream.pass(encode('x'.repeat(9)), write)
  stream.leave()
  stream.leave()
  expect(await stream.pass(encode('more'), write)).toBe(false)
  expect(captures).toEqual([3n])
})

test('a charge is kept open while its handler works, and no longer', async () => {
  vi.useFakeTimers()
  try {
    const extend = vi.fn(async () => ({ outcome: 'charged' as const }))
    const client = { extend, capture: async () => ({}) }
    const charger = { client, graceMs: 1, now: () => 0, vouchers: new Map() } as unknown as Charger
    const call = createMeteredCall(charger, {
      ...{ pricing: byByte, ticket: 't', headers: {}, holdAtomic: 10n, segmentAtomic: 10n, requestBytes: 0 },
      ...{ requestId: undefined, channelId: undefined },
    })
    await vi.advanceTimersByTimeAsync(65_000)
    expect(extend.mock.calls).toEqual(Array(3).fill(['t', { amountAtomic: 10n, usedAtomic: 0n }]))
    await call.complete({ status: 200, contentType: 'application/json', body: encode('{}') })
    await vi.advanceTimersByTimeAsync(65_000)
    expect(extend).toHaveBeenCalledTimes(3)
  } finally {
    vi.useRealTimers()
  }
})
