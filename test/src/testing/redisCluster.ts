import { freePort } from '@protocolbanks/stream-dev'
import { Redis } from 'ioredis'
import { expect, vi } from 'vitest'
import { type DurableRedis, startDurableRedis } from './durableRedis.ts'

/** Redis nodes that share the slots. Each keeps everything on its disk, and none stands in for another. */
export type RedisCluster = {
  /** URLs of the nodes, with commas between them. */
  url: string
  nodes: readonly DurableRedis[]
  /** Which of the nodes has the keys with this hash tag. */
  nodeOf(tag: string): Promise<number>
  /** Until all nodes run and know of each other that they do. */
  untilWhole(): Promise<void>
  remove(): Promise<void>
}

type Node = DurableRedis & { busPort: number }

const slots = 16_384

export async function startRedisCluster(count: number): Promise<RedisCluster> {
  const nodes = await Promise.all(Array.from({ length: count }, startNode))
  for (const [index, node] of nodes.entries()) {
    const [first, next] = [index, index + 1].map((part) => Math.floor((part * slots) / count)) as [number, number]
    await ask(node, 'ADDSLOTSRANGE', first, next - 1)
    for (const { url, busPort } of nodes) await ask(node, 'MEET', '127.0.0.1', Number(new URL(url).port), busPort)
  }
  const untilWhole = async () => {
    for (const node of nodes) {
      const isWhole = async () => {
        const info = await ask(node, 'INFO')
        expect(info).toContain('cluster_state:ok')
        expect(info).toContain(`cluster_slots_ok:${slots}`)
      }
      await vi.waitFor(isWhole, { timeout: 120_000, interval: 50 })
    }
  }
  await untilWhole()
  return {
    url: nodes.map(({ url }) => url).join(','),
    nodes,
    untilWhole,
    async nodeOf(tag) {
      const [node] = nodes
      if (!node) throw new Error('The cluster has no node.')
      return Math.floor((Number(await ask(node, 'KEYSLOT', `{${tag}}`)) * count) / slots)
    },
    async remove() {
      await Promise.all(nodes.map((node) => node.remove()))
    },
  }
}

async function startNode(): Promise<Node> {
  const busPort = await freePort()
  const args = [
    ...['--cluster-enabled', 'yes', '--cluster-port', `${busPort}`, '--cluster-node-timeout', '1000'],
    // While one node is gone the slots of the others are served.
    ...['--cluster-require-full-coverage', 'no'],
  ]
  return { ...(await startDurableRedis({ keeps: 'everything', args })), busPort }
}

async function ask({ url }: Node, ...words: (string | number)[]): Promise<string> {
  const admin = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0 })
  admin.on('error', () => {})
  try {
    return String(await admin.call('CLUSTER', words.map(String)))
  } finally {
    admin.disconnect()
  }
}
