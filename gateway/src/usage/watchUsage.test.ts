import type { UsageFeedLine } from '@protocolbanks/stream-protocol'
import { expect, test } from 'vitest'
import { createEmbeddedMeter } from '../meter/embedded.ts'
import type { Ticket } from '../meter/meter.ts'
import { accountStateOf, createPayer, useOf } from '../meter/testing/builders.ts'
import { watchUsage } from './watchUsage.ts'

test('every charge is told once, those that waited and those that come, and what was captured again', async () => {
  const meter = createEmbeddedMeter({ clock: Date.now, instance: 'gateway-1' })
  const payers = [createPayer(), createPayer(), createPayer()]
  for (const payer of payers) await meter.mirror(accountStateOf(payer))
  const charge = async (payer: (typeof payers)[number]): Promise<Ticket> => {
    const decision = await meter.charge(useOf(payer))
    if (!decision.ok) throw new Error(decision.code)
    return decision.ticket
  }
  const [first, second, third] = payers
  if (!first || !second || !third) throw new Error('three were made')
  const waited = [await charge(first), await charge(second)]

  const stopping = new AbortController()
  const lines = watchUsage({ meter, clock: Date.now, signal: stopping.signal, pollMs: 1, heartbeatMs: 5 })
  const told: string[] = []
  const untilTold = async (count: number) => {
    while (told.length < count) {
      const { value } = (await lines.next()) as { value: UsageFeedLine }
      for (const { requestId, amountAtomic } of value.events) told.push(`${requestId} ${amountAtomic}`)
    }
  }
  const lineOf = ({ requestId }: Ticket, amount: bigint) => `${requestId} ${amount}`
  await untilTold(2)
  expect(told.toSorted()).toEqual(waited.map((ticket) => lineOf(ticket, 10n)).toSorted())

  const later = await charge(third)
  await untilTold(3)
  expect(told[2]).toBe(lineOf(later, 10n))
  await meter.capture(later, 3n)
  await untilTold(4)
  expect(told[3]).toBe(lineOf(later, 3n))

  // Nothing new: a line without events says that the feed goes on.
  const { value } = (await lines.next()) as { value: UsageFeedLine }
  expect(value.events).toEqual([])
  stopping.abort()
  expect((await lines.next()).done).toBe(true)
})
