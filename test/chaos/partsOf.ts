import { type FaultDetails, gateways, type Part } from './fault.ts'

/**
 * What a fault takes hold of. A Redis that forgets takes the gateways too: what is charged and not yet journalled is then
 * in their memory alone, and the stated bound is that they do not die in the same moment.
 */
export function partsOf(fault: FaultDetails): readonly Part[] {
  switch (fault.kind) {
    case 'kill':
    case 'pause':
    case 'clock':
      return [fault.process]
    case 'crash':
      return fault.point === 'recovery.flushed' ? forgetfulRedis : [fault.process]
    case 'cut': {
      const [from, to] = fault.wire.split('>') as [Part | 'agents', Part]
      return [from === 'agents' ? to : from]
    }
    case 'redis-flush':
    case 'redis-restart':
      return forgetfulRedis
    case 'redis-pause':
    case 'duplicated-usage':
      return ['redis']
    case 'postgres-restart':
      return ['postgres']
    case 'bundler-restart':
      return ['bundler']
    case 'reorganisation':
    case 'chain-clock':
      return ['chain']
    case 'late-paymaster':
      return ['paymaster']
  }
}

const forgetfulRedis: readonly Part[] = ['redis', 'postgres', ...gateways]

/** Whether Redis may have lost something by it. */
export function makesRedisForget(fault: FaultDetails): boolean {
  return partsOf(fault) === forgetfulRedis
}

/** Whether a fault gets in the way of settlement, so that one has to confirm before it is over. */
export function stopsSettlement(fault: FaultDetails): boolean {
  const parts = partsOf(fault)
  return !parts.includes('redis') && parts.some((part) => !serving.has(part))
}

const serving: ReadonlySet<Part> = new Set(['gateway-1', 'gateway-2', 'upstream'])
