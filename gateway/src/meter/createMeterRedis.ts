import { Cluster, Redis } from 'ioredis'

const slotsRefreshMs = 2_000

/**
 * A Redis client as the meter needs it. Several URLs separated by commas are nodes of a Redis Cluster.
 *
 * Commands are never kept back or sent again by the client (a charge that was sent twice would look like a duplicate of
 * itself) and end within `commandTimeoutMs`, so a dead Redis is noticed at once; the client reconnects by itself.
 *
 * @example const redis = createMeterRedis('redis://localhost:6379')
 */
export function createMeterRedis(url: string, commandTimeoutMs = 1000): Redis | Cluster {
  const options = {
    commandTimeout: commandTimeoutMs,
    connectTimeout: 2 * commandTimeoutMs,
    // A connection that is up but silent, for instance behind a broken network, is given up.
    socketTimeout: 3 * commandTimeoutMs,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
  }
  const retryStrategy = (times: number) => Math.min(50 * times, 1000)
  const nodes = url.split(',').map((node) => node.trim())
  const redis =
    nodes.length === 1
      ? new Redis(url, { ...options, retryStrategy, enableOfflineQueue: false, enableAutoPipelining: true })
      : new Cluster(nodes, {
          redisOptions: options,
          clusterRetryStrategy: retryStrategy,
          // A node that is gone stays known and is tried again, instead of being looked for by asking the others.
          clusterNodeRetryStrategy: retryStrategy,
          // Which node has which slots may change while it is gone.
          slotsRefreshInterval: slotsRefreshMs,
          slotsRefreshTimeout: 2 * commandTimeoutMs,
          enableOfflineQueue: false,
          enableAutoPipelining: true,
          // A charge that broke off is not sent again; one that a node did not take is sent on to the right one.
          retryDelayOnFailover: 0,
        })
  // Each failed attempt to connect is an event. Calls tell their callers, `ping` tells readiness.
  redis.on('error', () => {})
  return redis
}
