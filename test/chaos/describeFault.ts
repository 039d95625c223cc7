import type { Fault, FaultDetails } from './fault.ts'

/** A fault in a few words: its kind, and what it was done to. */
export function describeFault({ index: _, pauseMs: __, kind, ...details }: Fault): string {
  return [kind, ...Object.entries(details).map(([name, value]) => `${name} ${value}`)].join(', ')
}

/** What the table of recoveries has one line for. */
export function kindOf(fault: FaultDetails): string {
  switch (fault.kind) {
    case 'kill':
    case 'pause':
    case 'clock':
      return `${fault.kind} ${fault.process.replace(/-\d$/, '')}`
    case 'crash':
      return `crash at ${fault.point}`
    case 'cut':
      return `cut ${fault.wire.replaceAll(/-\d/g, '')}`
    case 'redis-restart':
      return `redis-restart, data ${fault.data}`
    case 'postgres-restart':
      return `postgres-restart, ${fault.how}`
    case 'reorganisation':
      return `reorganisation, transactions ${fault.transactions}`
    default:
      return fault.kind
  }
}
