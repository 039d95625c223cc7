import { setTimeout as delay } from 'node:timers/promises'
import type { FaultDetails } from '../fault.ts'
import type { World } from '../world.ts'

type Cut = Extract<FaultDetails, { kind: 'cut' }>

/** One program does not reach another for a while. */
export async function cutWire({ wires }: Pick<World, 'wires'>, { wire: name, how, forMs }: Cut): Promise<void> {
  const wire = wires[name]
  if (how === 'refused') await wire.cut()
  else wire.silence()
  await delay(forMs)
  await wire.mend()
}
