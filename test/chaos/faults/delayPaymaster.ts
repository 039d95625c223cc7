import { setTimeout as delay } from 'node:timers/promises'
import type { FaultDetails } from '../fault.ts'
import type { World } from '../world.ts'

type Late = Extract<FaultDetails, { kind: 'late-paymaster' }>

/** The paymaster signs, and settlement hears of it late, or after it has stopped waiting. */
export async function delayPaymaster({ wires }: Pick<World, 'wires'>, { byMs, forMs }: Late): Promise<void> {
  const ways = [wires['settlement-1>paymaster'], wires['settlement-2>paymaster']]
  for (const way of ways) way.slow(byMs)
  await delay(forMs)
  for (const way of ways) way.slow(0)
}
