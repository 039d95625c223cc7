import type { Pricing } from '@protocolbanks/stream-protocol'
import { expect, test } from 'vitest'
import { partitionOf } from '../meter/partitionOf.ts'
import { isMeterable } from './answerByUse.ts'
import { type MeterableCharge, type MeterStreamOptions, meterStream } from './meterStream.ts'
import { account, createTestGateway, grantId, newRequestId, payee, payment, price } from './testing/testGateway.ts'

const perByte = { kind: 'byte', rate: { price: 1n, per: 1n } } as const satisfies Pricing
const perToken = { kind: 'token', input: perByte.rate, output: perByte.rate } as const satisfies Pricing

/** A stream that is charged, at a clock that is set by hand. */
async function start(changes: Partial<MeterStreamOptions> = {}) {
  const gateway = createTestGateway({ service: { pricing: perByte } })
  await gateway.ready()
  const { service } = gateway
  const verdict = await gateway.gate.authorize({
    service,
    amount: price,
    url: 'http://gateway.test/weather',
    payment: payment(service, price, newRequestId()),
    fingerprint: () => 'asked',
  })
  if (verdict.kind !== 'serve' || !isMeterable(verdict.charge)) throw new Error('It is not served.')
  const charge: MeterableCharge = verdict.charge
  const clock = { nowMs: 0 }
  const outcomes: string[] = []
  const source = new TransformStream<Uint8Array, Uint8Array>()
  const reader = meterStream(source.readable, {
    charge,
    channelId: 'channel',
    pricing: perByte,
    segment: price,
    graceMs: 0,
    head: { status: 200, headers: [] },
    contentType: 'application/octet-stream',
    requestBytes: 0,
    startedAtMs: 0,
    now: () => clock.nowMs,
    maxKeptBytes: 0,
    onEnd: (outcome) => outcomes.push(outcome),
    ...changes,
  }).getReader()
  const writer = source.writable.getWriter()
  return {
    ...{ clock, outcomes, reader, writer },
    async pass(bytes: Uint8Array) {
      void writer.write(bytes)
      let passed = 0
      while (passed < bytes.length) passed += (await reader.read()).value?.length ?? 0
    },
    async journalled() {
      const events = await gateway.meter.readUsage(partitionOf(account), 100)
      return events.reduce((sum, { amount }) => sum + amount, 0n)
    },
    charged: async () => (await gateway.meter.read(account, grantId))?.channels[payee]?.charged,
  }
}

test('what a long stream used becomes final while it runs, so that the journal does not wait for its end', async () => {
  const { clock, outcomes, reader, writer, pass, journalled, charged } = await start()
  await pass(new Uint8Array(1_000))
  expect(await journalled()).toBe(0n)
  clock.nowMs = 31_000
  await pass(new Uint8Array(500))
  // What came before is final; the rest of what was held is held anew, with the same voucher.
  expect(await journalled()).toBe(1_000n)
  expect(await charged()).toBe(price)
  void writer.close()
  expect((await reader.read()).done).toBe(true)
  expect(outcomes).toEqual(['captured'])
  expect(await journalled()).toBe(1_500n)
})

test('while nobody reads a stream what was delivered is final and nothing is held; who reads on pays on', async () => {
  const { outcomes, reader, writer, pass, journalled, charged } = await start({ stallMs: 20 })
  await pass(new Uint8Array(1_000))
  await expect.poll(journalled).toBe(1_000n)
  expect(await charged()).toBe(1_000n)
  await pass(new Uint8Array(500))
  void writer.close()
  expect((await reader.read()).done).toBe(true)
  expect(outcomes).toEqual(['captured'])
  expect([await journalled(), await charged()]).toEqual([1_500n, 1_500n])
})

test('who takes nothing of a stream for as long as a segment may be open has left, and pays nothing', async () => {
  const { clock, reader, writer, charged, journalled } = await start({ stallMs: 20 })
  clock.nowMs = 31_000
  await expect(writer.closed).rejects.toBeUndefined()
  await expect.poll(charged).toBe(0n)
  await expect(reader.read()).rejects.toThrow('nobody read it')
  expect(await journalled()).toBe(0n)
})

test('an answer that tells its use at its end costs that, also when nobody read it for a while', async () => {
  const { outcomes, reader, writer, pass, journalled, charged } = await start({
    ...{ stallMs: 20, pricing: perToken, contentType: 'application/json', requestBytes: 40 },
  })
  await pass(Buffer.from('{"choices":["'))
  // What it has read, about.
  await expect.poll(journalled).toBe(10n)
  await pass(Buffer.from('x"],"usage":{"prompt_tokens":70,"completion_tokens":230}}'))
  void writer.close()
  expect((await reader.read()).done).toBe(true)
  expect(outcomes).toEqual(['captured'])
  expect([await journalled(), await charged()]).toEqual([300n, 300n])
})

test('one that never tells its use costs what was held, also when nobody read it for a while', async () => {
  const { outcomes, reader, writer, pass, journalled, charged } = await start({
    ...{ stallMs: 20, pricing: perToken, contentType: 'application/json', requestBytes: 40 },
  })
  await pass(Buffer.from('{"choices":["'))
  await expect.poll(journalled).toBe(10n)
  void writer.close()
  expect((await reader.read()).done).toBe(true)
  expect(outcomes).toEqual(['unmeasured'])
  expect([await journalled(), await charged()]).toEqual([price, price])
})
