import { type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import { partitionOf } from '@protocolbanks/stream-gateway'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { readinessOf } from './testing/readinessOf.ts'
import { type RedisCluster, startRedisCluster } from './testing/redisCluster.ts'
import { settleAll } from './testing/settleAll.ts'
import { startGateway } from './testing/startGateway.ts'
import { startTraffic, type Traffic } from './testing/startTraffic.ts'

// Three gateways share a Redis Cluster of three nodes. Agents call any of them, each call another, while nodes are killed.

const timeout = 600_000
const soon = { timeout: 120_000, interval: 100 }
/** What a call may be answered while a node is gone. */
const expected = [
  '402 payment.required',
  '503 meter.unavailable',
  '409 request.in_progress',
  // Until a charge whose answer was lost is taken back: the agent learns what is charged and signs again.
  '402 voucher.exhausted',
]

let cluster: RedisCluster
let stack: Stack
const gateways: Service[] = []
beforeAll(async () => {
  cluster = await startRedisCluster(3)
  const env = { REDIS_URL: cluster.url }
  stack = await startStack({ withRedis: false, env: { gateway: env } })
  gateways.push(stack.gateway)
  for (const label of ['gateway-2', 'gateway-3']) gateways.push(await startGateway(stack, env, { label }))
}, timeout)
afterAll(async () => {
  for (const gateway of gateways.slice(1)) await gateway.stop()
  await stack?.stop()
  await cluster?.remove()
}, 240_000)

type Agent = { shop: Shop; budget: Budget; node: number; traffic: Traffic }

async function startAgent(number: number): Promise<Agent> {
  const shop = await openShop(stack, `clustered-${number}`)
  const budget = await giveBudget(stack, shop)
  const node = await cluster.nodeOf(`p${partitionOf(budget.account.address)}`)
  const { url } = gateways[number % gateways.length] ?? stack.gateway
  return {
    shop,
    budget,
    node,
    traffic: startTraffic({ ...shop, url: shop.url.replace(stack.gateway.url, url) }, budget),
  }
}

test('any node may be killed at any moment: the others serve on, nothing is lost, and nothing is charged twice', {
  timeout,
}, async () => {
  const agents: Agent[] = []
  try {
    const atNode = (index: number) => agents.filter(({ node }) => node === index)
    while (cluster.nodes.some((_, index) => atNode(index).length < 2)) {
      expect(agents.length).toBeLessThan(60)
      agents.push(await startAgent(agents.length))
    }
    const untilAllServed = (more: number) => Promise.all(agents.map(({ traffic }) => traffic.untilServed(more)))
    await untilAllServed(10)
    for (const [index, node] of cluster.nodes.entries()) {
      const others = agents.filter((agent) => !atNode(index).includes(agent))
      await node.kill()
      await Promise.all(atNode(index).map(({ traffic }) => traffic.untilRefused('503 meter.unavailable')))
      await Promise.all(others.map(({ traffic }) => traffic.untilServed(10)))
      await node.start()
      await cluster.untilWhole()
      await untilAllServed(10)
    }
    await Promise.all(agents.map(({ traffic }) => traffic.stop()))
    for (const gateway of gateways)
      await expect.poll(() => readinessOf(gateway), soon).toEqual({ status: 200, failing: [] })
    for (const { shop, budget, traffic } of agents) {
      expect(traffic.surprises).toEqual([])
      expect([...traffic.refusals.keys()].filter((kind) => !expected.includes(kind))).toEqual([])
      const calls = traffic.served()
      const amount = BigInt(calls) * priceAtomic
      const books = await settleAll(stack, shop, budget, amount)
      expect(books).toEqual({ live: amount, charged: amount, settled: amount, received: amount, calls })
    }
  } finally {
    await Promise.all(agents.map(({ traffic }) => traffic.stop()))
    await Promise.all(agents.map(({ shop }) => shop.stop()))
  }
})
