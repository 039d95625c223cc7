import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createMeterRedis } from './createMeterRedis.ts'
import { type Meter, partitionCount } from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { createRedisMeter } from './redis.ts'
import { accountStateOf, createPayer, type Payer, useOf } from './testing/builders.ts'
import { startTestRedis, type TestRedis } from './testing/startTestRedis.ts'

const nodes: TestRedis[] = []
const clients: { disconnect(): void }[] = []
let meter: Meter

beforeAll(async () => {
  const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000']
  nodes.push(...(await Promise.all([startTestRedis(args), startTestRedis(args), startTestRedis(args)])))
  const admins = nodes.map(({ url }) => new Redis(url))
  clients.push(...admins)
  await Promise.all([
    admins[0]?.call('CLUSTER', 'ADDSLOTSRANGE', 0, 5460),
    admins[1]?.call('CLUSTER', 'ADDSLOTSRANGE', 5461, 10922),
    admins[2]?.call('CLUSTER', 'ADDSLOTSRANGE', 10923, 16383),
  ])
  for (const { port } of nodes) await admins[0]?.call('CLUSTER', 'MEET', '127.0.0.1', port)
  for (const admin of admins) {
    await vi.waitFor(
      async () => expect(String(await admin.call('CLUSTER', 'INFO'))).toMatch(/cluster_state:ok.*known_nodes:3/s),
      { timeout: 60_000, interval: 50 },
    )
  }
  const redis = createMeterRedis(nodes.map(({ url }) => url).join(','), 10_000)
  clients.push(redis)
  meter = createRedisMeter({ redis, instance: 'gateway-1', watermarkIntervalMs: 20 })
  await meter.ping()
})
afterAll(async () => {
  await meter?.close()
  for (const client of clients) client.disconnect()
  await Promise.all(nodes.map((node) => node.remove()))
})

test('works on a Redis Cluster, in every partition, with charges in flight on all nodes at once', async () => {
  const payers = createPayerOfEachPartition()
  await Promise.all(payers.map((payer) => meter.mirror(accountStateOf(payer))))
  const charged = await Promise.all(payers.map((payer) => meter.charge(useOf(payer))))
  for (const decision of charged) if (decision.ok) meter.served(decision.ticket)
  const released = await Promise.all(
    payers.map(async (payer) => {
      const decision = await meter.charge(useOf(payer))
      return decision.ok && meter.capture(decision.ticket, 0n)
    }),
  )
  expect(charged.map(({ ok }) => ok)).toEqual(payers.map(() => true))
  expect(released).toEqual(payers.map(() => expect.objectContaining({ ok: true })))
  for (const [partition, payer] of payers.entries()) {
    await expect
      .poll(async () => (await meter.readUsage(partition, 10)).map(({ account }) => account))
      .toEqual([payer.account])
    expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 10n, accountOutstanding: 10n })
  }
})

function createPayerOfEachPartition(): Payer[] {
  const payers = new Map<number, Payer>()
  for (let attempt = 0; attempt < 100_000 && payers.size < partitionCount; attempt += 1) {
    const payer = createPayer()
    payers.set(partitionOf(payer.account), payer)
  }
  return [...payers].sort(([left], [right]) => left - right).map(([, payer]) => payer)
}
