import type { FaultDetails } from '../fault.ts'
import type { World } from '../world.ts'

type Kill = Extract<FaultDetails, { kind: 'kill' }>

/** SIGKILL at a moment that nobody chose; the supervisor starts it again. */
export async function killProcess({ processes }: Pick<World, 'processes'>, { process }: Kill): Promise<void> {
  await processes[process].kill()
}
