import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createEmbeddedMeter } from '../meter/embedded.ts'
import { createEmbeddedStore } from '../meter/embeddedStore.ts'
import type { Meter, Ticket } from '../meter/meter.ts'
import { partitionOf } from '../meter/partitionOf.ts'
import { accountStateOf, createPayer, nowMs, type Payer, useOf } from '../meter/testing/builders.ts'
import { createMeteredCharge, type MeteredCharge } from './meteredCharge.ts'

const clock = () => nowMs

async function start(payer: Payer, { hold, authorized }: { hold: bigint; authorized: bigint }) {
  const meter = createEmbeddedMeter({ clock, instance: 'gateway-1' })
  await meter.mirror(accountStateOf(payer))
  const use = useOf(payer, { amount: hold, cumulativeAmount: authorized })
  const first = await meter.charge(use)
  if (!first.ok) throw new Error(first.code)
  const { ticket, channel } = first
  return {
    meter,
    charge: createMeteredCharge({
      ...{ meter, charge: meter.charge, use, ticket, channel, instance: 'gateway-1' },
      isRepeat: false,
      isPaidInPart: true,
    }),
  }
}

async function stateOf(meter: Meter, { account, grantId, payee }: Payer) {
  const events = await meter.readUsage(partitionOf(account), 1_000)
  const journalled = events.reduce((sum, { amount }) => sum + amount, 0n)
  return { journalled, charged: (await meter.read(account, grantId))?.channels[payee]?.charged ?? 0n }
}

const step = fc.record({ amount: fc.bigInt(0n, 60n), used: fc.option(fc.bigInt(0n, 200n), { nil: undefined }) })

test('whatever is held and used, the charge, the meter and the journal say one amount, within every voucher', async () => {
  const numbers = fc.record({
    hold: fc.bigInt(0n, 60n),
    more: fc.bigInt(0n, 200n),
    steps: fc.array(step, { maxLength: 6 }),
    total: fc.bigInt(0n, 300n),
  })
  await fc.assert(
    fc.asyncProperty(numbers, async ({ hold, more, steps, total }) => {
      const payer = createPayer()
      const authorized = hold + more
      const { meter, charge } = await start(payer, { hold, authorized })
      let heldBefore = charge.held
      for (const { amount, used } of steps) {
        const extended = await charge.extend(amount, used)
        // A refusal where all was used leaves what is held as it was.
        if (!extended.ok && used === undefined) expect(charge.held).toBe(heldBefore)
        heldBefore = charge.held
      }
      const { held } = charge
      const captured = await charge.capture(total)
      expect(captured.amount).toBe(charge.amount)
      expect(captured.amount <= authorized).toBe(true)
      expect(captured.late).toBeUndefined()
      // Exact, unless earlier segments cost more already, or no voucher covers it.
      if (captured.short !== undefined) expect(captured.amount + captured.short).toBe(total)
      else if (total >= held) expect(captured.amount).toBe(total)
      expect(await stateOf(meter, payer)).toEqual({ journalled: captured.amount, charged: captured.amount })
      // It is over.
      expect((await charge.extend(1n)).ok).toBe(false)
    }),
    { numRuns: 300 },
  )
})

test('segments that were held for one thing cost nothing when it does not come', async () => {
  const payer = createPayer()
  const { meter, charge } = await start(payer, { hold: 10n, authorized: 100n })
  expect(await charge.extend(10n)).toEqual({ ok: true })
  expect(await charge.extend(10n)).toEqual({ ok: true })
  expect(charge.held).toBe(30n)
  expect(await charge.capture(0n)).toEqual({ amount: 0n })
  expect(await stateOf(meter, payer)).toEqual({ journalled: 0n, charged: 0n })
})

test('a segment that is being charged when the call ends is part of what is captured', async () => {
  const payer = createPayer()
  const { meter, charge } = await start(payer, { hold: 10n, authorized: 100n })
  const [extended, captured] = await Promise.all([charge.extend(10n), charge.capture(13n)])
  expect([extended.ok, captured.amount]).toEqual([true, 13n])
  expect(await stateOf(meter, payer)).toEqual({ journalled: 13n, charged: 13n })
})

test('what the journal has read already stands as it was held, and the charge says so', async () => {
  const payer = createPayer()
  const { meter, charge } = await start(payer, { hold: 10n, authorized: 100n })
  charge.stand()
  await meter.readUsage(partitionOf(payer.account), 10)
  expect(await charge.capture(3n)).toEqual({ amount: 10n })
})

test('a call that another process takes over pays for no segment twice', async () => {
  const payer = createPayer()
  const store = createEmbeddedStore()
  const dead = createEmbeddedMeter({ clock, instance: 'gateway-1', store })
  await dead.mirror(accountStateOf(payer))
  const use = useOf(payer, { amount: 10n, cumulativeAmount: 100n })
  const first = await dead.charge(use)
  if (!first.ok) throw new Error(first.code)
  const start = (meter: Meter, instance: string, ticket: Ticket): MeteredCharge =>
    createMeteredCharge({
      ...{ meter, charge: meter.charge, use, ticket, channel: first.channel, instance },
      isRepeat: instance === 'gateway-2',
      isPaidInPart: true,
    })
  expect(await start(dead, 'gateway-1', first.ticket).extend(10n)).toEqual({ ok: true })
  await dead.close()

  const alive = createEmbeddedMeter({ clock, instance: 'gateway-2', store })
  const again = await alive.charge(use)
  if (again.ok || again.code !== 'request.duplicate') throw new Error('It was charged before.')
  expect(await alive.adopt({ ...again.ticket, from: again.instance })).toBe(true)
  const charge = start(alive, 'gateway-2', again.ticket)
  expect(await charge.extend(10n)).toEqual({ ok: true })
  expect(await charge.extend(10n)).toEqual({ ok: true })
  expect(charge.held).toBe(30n)
  const { amount } = await charge.capture(25n)
  expect(await stateOf(alive, payer)).toEqual({ journalled: amount, charged: amount })
})

test('segments of an earlier request under the same id, which the meter has forgotten, pay for nothing', async () => {
  const payer = createPayer()
  let now = nowMs
  const meter = createEmbeddedMeter({ clock: () => now, instance: 'gateway-1', requestRetentionMs: 600_000 })
  await meter.mirror(accountStateOf(payer))
  const stream = async () => {
    const use = {
      ...useOf(payer, { amount: 10n, cumulativeAmount: 1_000n }),
      requestId: 'req_0123456789abcdef',
      nowMs: now,
    }
    const first = await meter.charge(use)
    if (!first.ok) throw new Error(first.code)
    const { ticket, channel } = first
    return createMeteredCharge({
      meter,
      charge: meter.charge,
      use,
      ticket,
      channel,
      instance: 'gateway-1',
      isRepeat: false,
      isPaidInPart: true,
    })
  }
  const slow = await stream()
  now += 599_000
  // Its first segment is about to be forgotten, the others are not.
  for (let segment = 0; segment < 20; segment++) expect(await slow.extend(10n)).toEqual({ ok: true })
  slow.stand()
  now += 2_000
  const again = await stream()
  for (let segment = 0; segment < 20; segment++) expect(await again.extend(10n)).toEqual({ ok: true })
  again.stand()
  expect((await meter.read(payer.account, payer.grantId))?.channels[payer.payee]?.charged).toBe(420n)
})

/** A call that held a second segment, of a process that is gone, and that another serves again. */
async function takenOver(payer: Payer, isPaidInPart: boolean) {
  const store = createEmbeddedStore()
  const use = useOf(payer, { amount: 10n, cumulativeAmount: 100n })
  const dead = createEmbeddedMeter({ clock, instance: 'gateway-1', store })
  await dead.mirror(accountStateOf(payer))
  const first = await dead.charge(use)
  if (!first.ok) throw new Error(first.code)
  const { ticket, channel } = first
  const options = { use, channel, isPaidInPart }
  const served = createMeteredCharge({
    ...{ ...options, ticket, meter: dead, charge: dead.charge, instance: 'gateway-1', isRepeat: false },
  })
  expect(await served.extend(10n, 8n)).toEqual({ ok: true })
  await dead.close()

  const meter = createEmbeddedMeter({ clock, instance: 'gateway-2', store })
  const again = await meter.charge(use)
  if (again.ok || again.code !== 'request.duplicate') throw new Error('It was charged before.')
  expect(await meter.adopt({ ...again.ticket, from: again.instance })).toBe(true)
  const charge = createMeteredCharge({
    ...{ ...options, ticket: again.ticket, meter, charge: meter.charge, instance: 'gateway-2', isRepeat: true },
  })
  return { meter, charge }
}

test('a stream that is not served again costs what was delivered the first time, and no segment after that', async () => {
  const payer = createPayer()
  const { meter, charge } = await takenOver(payer, true)
  expect(await charge.release()).toBe(8n)
  expect(charge.amount).toBe(8n)
  expect(await stateOf(meter, payer)).toEqual({ journalled: 8n, charged: 8n })
})

test('an answer that is of use as a whole costs nothing in any of its segments when it is not served again', async () => {
  const payer = createPayer()
  const { meter, charge } = await takenOver(payer, false)
  expect(await charge.release()).toBe(0n)
  expect(await stateOf(meter, payer)).toEqual({ journalled: 0n, charged: 0n })
})

test('segments that were charged for the retry alone are given back too', async () => {
  const payer = createPayer()
  const { meter, charge } = await takenOver(payer, true)
  for (let segment = 0; segment < 3; segment++) expect(await charge.extend(10n)).toEqual({ ok: true })
  expect(await charge.release()).toBe(8n)
  expect(await stateOf(meter, payer)).toEqual({ journalled: 8n, charged: 8n })
})

test('all of it stands when the meter does not tell what was charged, so that nobody is told otherwise', async () => {
  const payer = createPayer()
  const { meter, charge } = await takenOver(payer, true)
  expect(await meter.refuse(payer.account, payer.grantId)).toBe(true)
  expect(await charge.release()).toBe(8n)
  expect(await stateOf(meter, payer)).toEqual({ journalled: 18n, charged: 18n })
})

test.each<[string, (charge: MeteredCharge) => Promise<unknown>]>([
  ['rests', (charge) => charge.rest(4n)],
  ['is extended by nothing', (charge) => charge.extend(0n, 4n)],
])('what %s is final at what was used and holds nothing, and goes on with the next segment', async (_, rest) => {
  const payer = createPayer()
  const { meter, charge } = await start(payer, { hold: 10n, authorized: 100n })
  await rest(charge)
  expect(charge.held).toBe(4n)
  expect(await stateOf(meter, payer)).toEqual({ journalled: 4n, charged: 4n })
  expect(await charge.extend(10n)).toEqual({ ok: true })
  expect(await charge.capture(9n)).toEqual({ amount: 9n })
  expect(await stateOf(meter, payer)).toEqual({ journalled: 9n, charged: 9n })
})
