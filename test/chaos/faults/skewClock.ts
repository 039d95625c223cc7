import { setTimeout as delay } from 'node:timers/promises'
import type { FaultDetails } from '../fault.ts'
import type { World } from '../world.ts'

type Clock = Extract<FaultDetails, { kind: 'clock' }>

/** A service's clock leaps, and leaps back. */
export async function skewClock({ setClock }: Pick<World, 'setClock'>, { process, byMs, forMs }: Clock): Promise<void> {
  await setClock(process, byMs)
  await delay(forMs)
  await setClock(process, 0)
}
