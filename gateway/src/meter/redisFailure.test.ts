import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createMeterRedis } from './createMeterRedis.ts'
import { MeterUnavailableError } from './errors.ts'
import type { Meter, Ticket, Use } from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { createRedisMeter, type RedisMeterOptions } from './redis.ts'
import { defineRedisScripts } from './redisScripts.ts'
import {
  accountStateOf,
  channelStateOf,
  createPayer,
  grantStateOf,
  nowSeconds,
  type Payer,
  useOf,
} from './testing/builders.ts'
import { startTestRedis, type TestRedis } from './testing/startTestRedis.ts'

let server: TestRedis
let payer: Payer
const closers: (() => Promise<void>)[] = []

beforeEach(async () => {
  // Written before each answer, so nothing is lost with the process; not flushed each time, which a busy disk takes seconds for.
  server = await startTestRedis(['--appendonly', 'yes', '--appendfsync', 'no'])
  payer = createPayer()
})
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  await server.remove()
})

test('says that it is unavailable while Redis is down, and goes on where it was when Redis is back', async () => {
  const meter = await open('gateway-1')
  await meter.mirror(accountStateOf(payer))
  const use = useOf(payer)
  meter.served(await charge(meter, use))
  await server.kill()

  const startedAt = performance.now()
  await expect(meter.charge(useOf(payer))).rejects.toThrow(MeterUnavailableError)
  await expect(meter.ping()).rejects.toThrow(MeterUnavailableError)
  await expect(meter.readUsage(0, 10)).rejects.toThrow(MeterUnavailableError)
  // Three time-outs of a command at most, and a machine that is busy.
  expect(performance.now() - startedAt).toBeLessThan(30_000)

  await server.start()
  await expect.poll(() => answers(meter)).toBe(true)
  expect(await meter.charge(use)).toMatchObject({ code: 'request.duplicate' })
  meter.served(await charge(meter, useOf(payer)))
  expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 20n })
  await usage(meter, 2)
})

test('charges that are in flight when Redis dies end in bounded time, and all that was answered with yes stands', async () => {
  const meter = await open('gateway-1')
  await meter.mirror(accountStateOf(payer))
  const outcomes = Promise.allSettled(Array.from({ length: 500 }, () => meter.charge(useOf(payer, { amount: 1n }))))
  await Promise.race([outcomes, sleep(2)])
  await server.kill()
  const settled = await outcomes
  const yes = settled.filter((outcome) => outcome.status === 'fulfilled')
  for (const outcome of settled) {
    if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(MeterUnavailableError)
  }
  await server.start()
  await expect.poll(() => answers(meter)).toBe(true)
  // What was charged unseen is taken back, what was seen is not.
  await expect.poll(async () => (await meter.read(payer.account, payer.grantId))?.owed).toBe(BigInt(yes.length))
})

test('a charge whose answer was lost is taken back when Redis answers again, and its request id is unused', async () => {
  const meter = await open('gateway-1', {}, 2_000)
  await meter.mirror(accountStateOf(payer))
  const use = useOf(payer)
  const admin = client()
  // Redis holds all writes until the charge is given up, and makes them then, on the same connection.
  await admin.client('PAUSE', 60_000, 'WRITE')
  await expect(meter.charge(use)).rejects.toThrow(MeterUnavailableError)
  await admin.client('UNPAUSE')
  await expect.poll(() => admin.exists(`stream:{p${partitionOf(payer.account)}}:usage`)).toBe(1)
  await expect.poll(async () => (await meter.read(payer.account, payer.grantId))?.owed).toBe(0n)
  expect(await usage(meter, 0)).toEqual([])
  expect((await meter.charge(use)).ok).toBe(true)
})

test('a request whose charge is about to be taken back is not called answered: it has to come again', async () => {
  // It takes nothing back while the test looks.
  const meter = await open('gateway-1', { watermarkIntervalMs: 600_000 }, 2_000)
  await meter.mirror(accountStateOf(payer))
  const use = useOf(payer)
  const admin = client()
  await admin.client('PAUSE', 60_000, 'WRITE')
  await expect(meter.charge(use)).rejects.toThrow('Redis did not answer')
  await admin.client('UNPAUSE')
  await expect.poll(() => admin.exists(`stream:{p${partitionOf(payer.account)}}:usage`)).toBe(1)
  await expect(meter.charge(use)).rejects.toThrow('is being taken back')
  expect((await meter.charge(useOf(payer))).ok).toBe(true)
})

test('a process that was paused for too long finds its charge journalled, and cannot release it any more', async () => {
  // This process announces itself with its charge and then never again, as if it were stopped.
  const paused = await open('gateway-paused', { watermarkIntervalMs: 600_000, watermarkTtlMs: 1_000 })
  const patient = await open('gateway-3', { watermarkTtlMs: 600_000 })
  const other = await open('gateway-2', { watermarkTtlMs: 1_000 })
  await other.mirror(accountStateOf(payer))
  const use = useOf(payer)
  const ticket = await charge(paused, use)
  expect(await patient.readUsage(partitionOf(payer.account), 10)).toEqual([])

  const [event] = await usage(other, 1)
  expect(event?.eventId).toBe(ticket.eventId)
  expect(await paused.capture(ticket, 0n)).toEqual({ ok: false, code: 'capture.too_late' })
  // Another process serves the retry free, and only one.
  expect(await other.adopt({ ...payer, requestId: use.requestId, from: 'gateway-paused' })).toBe(true)
  expect(await paused.charge(use)).toMatchObject({ code: 'request.duplicate', instance: 'gateway-2' })
})

test('a process that was forgotten holds its events again from its next charge on', async () => {
  const paused = await open('gateway-paused', { watermarkIntervalMs: 600_000, watermarkTtlMs: 1_000 })
  const other = await open('gateway-2', { watermarkTtlMs: 1_000 })
  await other.mirror(accountStateOf(payer))
  await charge(paused, useOf(payer))
  // Read: the process is taken for gone.
  const [first] = await usage(other, 1)
  await other.acknowledge(partitionOf(payer.account), [first?.eventId ?? ''])
  const ticket = await charge(paused, useOf(payer))
  await sleep(100)
  // By one that takes nobody for gone who is only slow.
  const patient = await open('gateway-3', { watermarkTtlMs: 600_000 })
  expect(await patient.readUsage(partitionOf(payer.account), 10)).toEqual([])
  expect(await paused.capture(ticket, 0n)).toMatchObject({ ok: true })
})

test('an event is never older than what its process has announced, also when the clock of Redis is behind that', async () => {
  const meter = await open('gateway-1')
  await meter.mirror(accountStateOf(payer))
  const redis = client()
  const scripts = defineRedisScripts(redis)
  const tag = `stream:{p${partitionOf(payer.account)}}:`
  const [marks, usageKey] = [`${tag}marks`, `${tag}usage`]
  const grantKey = `${tag}grant:${payer.account}:${payer.grantId}`.toLowerCase()
  const aheadMs = Date.now() + 60_000

  expect(await scripts.announce([marks], ['gateway-2', aheadMs])).toEqual([`${aheadMs}`, '', '0', expect.any(String)])
  const ids: string[] = []
  for (const request of ['request-1', 'request-2']) {
    const accountKey = `${tag}account:${payer.account.toLowerCase()}`
    const keys = [grantKey, accountKey, request, marks, usageKey, `${tag}exposure`] as const
    const answer = await scripts.charge(
      [...keys],
      [
        ...([nowSeconds, 0, '1', '100', '100', '0x51', 'fingerprint', '', '', 60] as const),
        ...([
          payer.payee.toLowerCase(),
          'weather',
          'gateway-2',
          1,
          aheadMs,
          10_000,
          600_000,
          1_000,
          '{}',
          '',
          '',
        ] as const),
      ],
    )
    expect(answer).toMatchObject(['ok', expect.any(String), '100', expect.any(String), '0'])
    ids.push((answer as string[])[1] ?? '')
  }
  expect(ids).toEqual([`${aheadMs}-0`, `${aheadMs}-1`])
})

test('after Redis lost everything charges wait for a mirror, which brings back sums and request ids', async () => {
  const meter = await open('gateway-1')
  await meter.mirror(accountStateOf(payer))
  const use = useOf(payer, { cumulativeAmount: 100n })
  meter.served(await charge(meter, use))
  const [event] = await usage(meter, 1)
  if (!event) throw new Error('The event is not there.')

  await client().flushall()
  expect(await meter.charge(useOf(payer))).toEqual({ ok: false, code: 'grant.unknown' })
  const channels = [channelStateOf(payer, { authorized: 100n, charged: 10n })]
  await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { channels })], requests: [event] }))
  expect(await meter.charge(use)).toMatchObject({
    code: 'request.duplicate',
    instance: '',
    ticket: { eventId: event.eventId },
  })
  expect(await meter.charge(useOf(payer))).toMatchObject({ ok: true, channel: { charged: 20n } })
})

test('scripts that Redis has forgotten are sent again', async () => {
  const meter = await open('gateway-1')
  await meter.mirror(accountStateOf(payer))
  await charge(meter, useOf(payer))
  await client().script('FLUSH')
  const decisions = await Promise.all(Array.from({ length: 20 }, () => meter.charge(useOf(payer))))
  expect(decisions.every(({ ok }) => ok)).toBe(true)
})

test('request ids are forgotten after their retention', async () => {
  const meter = await open('gateway-1', { requestRetentionMs: 5_000 })
  await meter.mirror(accountStateOf(payer))
  const use = useOf(payer)
  meter.served(await charge(meter, use))
  expect(await meter.charge(use)).toMatchObject({ code: 'request.duplicate' })
  await expect.poll(async () => (await meter.charge(use)).ok).toBe(true)
})

async function open(
  instance: string,
  options: Partial<RedisMeterOptions> = {},
  commandTimeoutMs = 5_000,
): Promise<Meter> {
  const redis = createMeterRedis(server.url, commandTimeoutMs)
  const meter = createRedisMeter({ redis, instance, watermarkIntervalMs: 10, ...options })
  closers.push(async () => {
    await meter.close()
    redis.disconnect()
  })
  await meter.ping()
  return meter
}

function client(): Redis {
  const redis = new Redis(server.url)
  closers.push(async () => redis.disconnect())
  return redis
}

async function charge(meter: Meter, use: Use): Promise<Ticket> {
  const decision = await meter.charge(use)
  if (!decision.ok) throw new Error(`Refused: ${decision.code}`)
  return decision.ticket
}

async function usage(meter: Meter, count: number) {
  const read = () => meter.readUsage(partitionOf(payer.account), 100)
  await expect.poll(async () => (await read()).length, { interval: 5 }).toBe(count)
  return read()
}

async function answers(meter: Meter): Promise<boolean> {
  return meter.ping().then(
    () => true,
    () => false,
  )
}
