import type { Redis } from 'ioredis'

/** What decides whether Redis keeps what it was given. */
export type RedisPolicy = { maxmemoryPolicy: string; keepsAppendOnlyFile: boolean }

/** Of all nodes: the first that may evict, and whether all persist. From INFO, which managed services allow too. */
export async function readRedisPolicy(nodes: readonly Redis[]): Promise<RedisPolicy> {
  const policies = await Promise.all(
    nodes.map(async (node) => {
      const [memory, persistence] = await Promise.all([node.info('memory'), node.info('persistence')])
      const [, maxmemoryPolicy = 'noeviction'] = /^maxmemory_policy:(\S+)/m.exec(memory) ?? []
      return { maxmemoryPolicy, keepsAppendOnlyFile: /^aof_enabled:1/m.test(persistence) }
    }),
  )
  return {
    maxmemoryPolicy: policies.find((one) => one.maxmemoryPolicy !== 'noeviction')?.maxmemoryPolicy ?? 'noeviction',
    keepsAppendOnlyFile: policies.every((one) => one.keepsAppendOnlyFile),
  }
}
