import { type FaultDetails, gateways } from '../fault.ts'
import type { World } from '../world.ts'
import { forgetfulRedis } from './forgetRedis.ts'
import { untilReady } from './untilReady.ts'

type Crash = Extract<FaultDetails, { kind: 'crash' }>

const reachMs = 120_000

/**
 * Starts the process anew with a crash point, and waits until it has died there. What a gateway does when Redis may have
 * forgotten is reached by restarting Redis.
 *
 * @throws when it was not reached within two minutes; the process has no crash point then
 */
export async function crashProcess(world: World, { process, point, hit }: Crash): Promise<void> {
  const victim = world.processes[process]
  const deadline = performance.now() + reachMs
  try {
    for (;;) {
      await victim.kill({ CRASH_AT: `${point}:${hit}` })
      const ended = victim.untilEnded(deadline - performance.now())
      const forgotten = point === 'recovery.flushed' ? forgetWhenReady() : undefined
      const [{ signal }] = await Promise.all([ended, forgotten])
      if (signal === 'SIGKILL') return
      // It could not start: what it stands on was gone, too. The next one is told again.
    }
  } catch (error) {
    await victim.kill()
    throw error
  }

  async function forgetWhenReady(): Promise<void> {
    await Promise.all(gateways.map((name) => untilReady(world, name, reachMs / 4)))
    // With its data: a gateway that dies before it has written down all partitions would lose the rest, as is stated.
    await forgetfulRedis(world, () => world.redis.restart('kept', 'SIGTERM'))
  }
}
