/** Our services, each a process of its own. */
export const services = ['gateway-1', 'gateway-2', 'settlement-1', 'settlement-2', 'paymaster'] as const
export type ServiceName = (typeof services)[number]

/** What a supervisor starts again when it ends. The upstream is the merchants' API. */
export const processes = [...services, 'upstream'] as const
export type ProcessName = (typeof processes)[number]

export const gateways = ['gateway-1', 'gateway-2'] as const

/** The ways between programs that can be cut: who calls, and what. */
export const wires = [
  'agents>gateway-1',
  'agents>gateway-2',
  'gateway-1>redis',
  'gateway-2>redis',
  'gateway-1>postgres',
  'gateway-2>postgres',
  'gateway-1>chain',
  'gateway-2>chain',
  'settlement-1>postgres',
  'settlement-2>postgres',
  'settlement-1>chain',
  'settlement-2>chain',
  'settlement-1>bundler',
  'settlement-2>bundler',
  'settlement-1>paymaster',
  'settlement-2>paymaster',
  'paymaster>postgres',
  'paymaster>chain',
] as const
export type WireName = (typeof wires)[number]

/** Where a service ends itself when it is told to (CRASH_AT), in the order in which a payment comes by. */
export const crashPoints = {
  gateway: [
    'charge.before',
    'charge.after',
    'charge.served',
    'journal.read',
    'journal.appended',
    'journal.acknowledged',
    'recovery.flushed',
  ],
  settlement: [
    'settlement.claimed',
    'settlement.built',
    'settlement.recorded',
    'settlement.sent',
    'settlement.submitted',
    'settlement.included',
    'settlement.confirming',
    'settlement.confirmed',
  ],
  paymaster: ['sponsor.signed', 'sponsor.reserved'],
} as const
export type CrashPoint = (typeof crashPoints)[keyof typeof crashPoints][number]
export const allCrashPoints: readonly CrashPoint[] = Object.values(crashPoints).flat()

/** One thing that goes wrong. Times in milliseconds unless the name says otherwise. */
export type FaultDetails =
  /** SIGKILL at whatever the process is doing. */
  | { kind: 'kill'; process: ProcessName }
  /** SIGKILL exactly there, at the `hit`-th time since the process started. */
  | { kind: 'crash'; process: ServiceName; point: CrashPoint; hit: number }
  /** SIGSTOP, then SIGCONT: the process believes that no time has passed. */
  | { kind: 'pause'; process: ProcessName; forMs: number }
  /** Its clock is wrong for a while, then right again: two jumps. */
  | { kind: 'clock'; process: ServiceName; byMs: number; forMs: number }
  /** `silent`: connections stay open and nothing passes; `refused`: they end, and none is made. */
  | { kind: 'cut'; wire: WireName; how: 'refused' | 'silent'; forMs: number }
  | { kind: 'redis-flush' }
  /** SIGKILL, then started again. `lost`: with an empty disk. */
  | { kind: 'redis-restart'; data: 'kept' | 'lost' }
  | { kind: 'redis-pause'; forMs: number }
  /** `fast`: all clients are thrown out, then it ends orderly. */
  | { kind: 'postgres-restart'; how: 'fast' | 'killed' }
  /** Its mempool is in memory only. */
  | { kind: 'bundler-restart' }
  /** Other blocks in the place of the newest: without their transactions, or with them, one block later. */
  | { kind: 'reorganisation'; depth: number; transactions: 'kept' | 'lost' }
  /** The chain's clock leaps ahead, for good. */
  | { kind: 'chain-clock'; bySeconds: number }
  /** Copies of usage events of served calls, in reverse order. */
  | { kind: 'duplicated-usage'; copies: number }
  /** The paymaster's answers come late. */
  | { kind: 'late-paymaster'; byMs: number; forMs: number }

export type FaultKind = FaultDetails['kind']

/** What a fault takes hold of. Two faults with a part in common never overlap. */
export type Part = ProcessName | 'redis' | 'postgres' | 'bundler' | 'chain'

/** `pauseMs`: after the fault before it was begun. */
export type Fault = FaultDetails & { index: number; pauseMs: number }
