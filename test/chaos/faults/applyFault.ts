import type { FaultDetails } from '../fault.ts'
import type { Traffic } from '../startTraffic.ts'
import type { World } from '../world.ts'
import { crashProcess } from './crashProcess.ts'
import { cutWire } from './cutWire.ts'
import { delayPaymaster } from './delayPaymaster.ts'
import { duplicateUsage } from './duplicateUsage.ts'
import { forgetRedis } from './forgetRedis.ts'
import { killProcess } from './killProcess.ts'
import { leapChainClock } from './leapChainClock.ts'
import { pauseProcess } from './pauseProcess.ts'
import { reorganise } from './reorganise.ts'
import { skewClock } from './skewClock.ts'

/**
 * Makes one thing go wrong, and ends it. Recovery counts from the moment this resolves.
 *
 * @throws when it could not be made to happen
 */
export function applyFault(world: World, traffic: Traffic, fault: FaultDetails): Promise<void> {
  switch (fault.kind) {
    case 'kill':
      return killProcess(world, fault)
    case 'crash':
      return crashProcess(world, fault)
    case 'pause':
    case 'redis-pause':
      return pauseProcess(world, fault)
    case 'clock':
      return skewClock(world, fault)
    case 'cut':
      return cutWire(world, fault)
    case 'redis-flush':
    case 'redis-restart':
      return forgetRedis(world, fault)
    case 'postgres-restart':
      return world.postgres.restart(fault.how)
    case 'bundler-restart':
      return world.bundler.restart()
    case 'reorganisation':
      return reorganise(world, fault)
    case 'chain-clock':
      return leapChainClock(world, fault)
    case 'duplicated-usage':
      return duplicateUsage(world, fault, traffic)
    case 'late-paymaster':
      return delayPaymaster(world, fault)
  }
}
