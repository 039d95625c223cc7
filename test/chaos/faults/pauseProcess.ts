import { setTimeout as delay } from 'node:timers/promises'
import type { FaultDetails } from '../fault.ts'
import type { World } from '../world.ts'

type Pause = Extract<FaultDetails, { kind: 'pause' | 'redis-pause' }>

/** SIGSTOP: connections stay open, nothing answers; then it goes on as if no time had passed. */
export async function pauseProcess(
  { processes, redis }: Pick<World, 'processes' | 'redis'>,
  fault: Pause,
): Promise<void> {
  const victim = fault.kind === 'redis-pause' ? redis : processes[fault.process]
  victim.signal('SIGSTOP')
  await delay(fault.forMs)
  victim.signal('SIGCONT')
}
