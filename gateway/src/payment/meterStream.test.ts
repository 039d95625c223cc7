import type { Pricing } from '@protocolbanks/stream-protocol'
import { expect, test } from 'vitest'
import { partitionOf } from '../meter/partitionOf.ts'
import { isMeterable } from './answerByUse.ts'
import { type MeterableCharge, meterStream } from './meterStream.ts'
import { account, createTestGateway, grantId, newRequestId, payee, payment, price } from './testing/testGateway.ts'

const perByte = { kind: 'byte', rate: { price: 1n, per: 1n } } as const satisfies Pricing

async function start() {
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
  return { gateway, charge: verdict.charge as MeterableCharge }
}

test('what a long stream used becomes final while it runs, so that the journal does not wait for its end', async () => {
  const { gateway, charge } = await start()
  let nowMs = 0
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
    now: () => nowMs,
    maxKeptBytes: 0,
    onEnd: (outcome) => outcomes.push(outcome),
  }).getReader()
  const writer = source.writable.getWriter()
  const pass = async (bytes: number) => {
    void writer.write(new Uint8Array(bytes))
    let passed = 0
    while (passed < bytes) passed += (await reader.read()).value?.length ?? 0
  }
  const journalled = async () => {
    const events = await gateway.meter.readUsage(partitionOf(account), 100)
    return events.reduce((sum, { amount }) => sum + amount, 0n)
  }

  await pass(1_000)
  expect(await journalled()).toBe(0n)
  nowMs = 31_000
  await pass(500)
  // What came before is final; the rest of what was held is held anew, with the same voucher.
  expect(await journalled()).toBe(1_000n)
  expect((await gateway.meter.read(account, grantId))?.channels[payee]?.charged).toBe(price)
  void writer.close()
  expect((await reader.read()).done).toBe(true)
  expect(outcomes).toEqual(['captured'])
  expect(await journalled()).toBe(1_500n)
})
