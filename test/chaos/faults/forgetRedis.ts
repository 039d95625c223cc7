import { setTimeout as delay } from 'node:timers/promises'
import { type FaultDetails, gateways } from '../fault.ts'
import { listUsageStreams } from '../parts/redisServer.ts'
import type { World } from '../world.ts'
import { untilReady } from './untilReady.ts'

type Forget = Extract<FaultDetails, { kind: 'redis-flush' | 'redis-restart' }>

const drainMs = 60_000
const readyMs = 30_000

/** Redis loses its memory, or is killed and comes back with what it had written. */
export async function forgetRedis(world: World, fault: Forget): Promise<void> {
  await Promise.all(gateways.map((name) => untilReady(world, name, readyMs)))
  if (fault.kind === 'redis-flush') await forgetfulRedis(world, () => world.redis.command('FLUSHALL'))
  // What is on disk may be a second old.
  else await forgetfulRedis(world, () => world.redis.restart(fault.data))
}

/**
 * Lets Redis forget once nothing hangs on its memory alone: the last charges of a gateway that died are in the journal. The
 * others are in the memory of the gateways that made them, which live on for long enough to write them down.
 */
export async function forgetfulRedis(world: World, forget: () => Promise<unknown>): Promise<void> {
  const lastDeath = Math.max(...gateways.map((name) => world.processes[name].endedAt()))
  const deadline = performance.now() + drainMs
  while ((await oldestUsageMs(world)) <= lastDeath) {
    if (performance.now() > deadline) {
      throw new Error(`Usage from before ${new Date(lastDeath).toISOString()} was not journalled in ${drainMs} ms.`)
    }
    await delay(250)
  }
  await forget()
}

/** The moment of the oldest usage event that waits for the journal, in milliseconds since 1970. */
async function oldestUsageMs({ redis }: Pick<World, 'redis'>): Promise<number> {
  const oldest = await Promise.all(
    (await listUsageStreams(redis)).map(async (stream) => {
      const [entry] = (await redis.command('XRANGE', stream, '-', '+', 'COUNT', '1')) as [string][]
      return entry ? Number(entry[0].split('-')[0]) : Number.POSITIVE_INFINITY
    }),
  )
  return Math.min(Number.POSITIVE_INFINITY, ...oldest)
}
