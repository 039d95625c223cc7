import type { FaultDetails } from '../fault.ts'
import type { World } from '../world.ts'

type Leap = Extract<FaultDetails, { kind: 'chain-clock' }>

/** The next block is so much later than it should be, and so are all that follow. */
export async function leapChainClock(
  { clients: { publicClient } }: Pick<World, 'clients'>,
  { bySeconds }: Leap,
): Promise<void> {
  await publicClient.request({ method: 'evm_increaseTime' as never, params: [bySeconds] as never })
}
