import { setTimeout as delay } from 'node:timers/promises'
import type { ProcessName } from '../fault.ts'
import type { World } from '../world.ts'

/** @throws after `timeoutMs` */
export async function untilReady(
  world: Pick<World, 'isReady'>,
  process: ProcessName,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await world.isReady(process))) {
    if (performance.now() > deadline) throw new Error(`${process} is not ready after ${timeoutMs} ms.`)
    await delay(100)
  }
}
