import { randomInt } from 'node:crypto'
import type { ChargedRequest } from './decide.ts'
import { partitionCount, type UsageEvent } from './meter.ts'
import type { MeteredAccount, MeteredGrant } from './transitions.ts'

/** The state of embedded meters, in this process. Keys are lower case. */
export type EmbeddedStore = {
  /** By account and grantId. */
  grants: Map<string, MeteredGrant>
  /** By account and token. */
  accounts: Map<string, MeteredAccount>
  /** How far the look for what leaves has come; undefined: it begins anew. */
  sweeps: Record<'grants' | 'accounts', IterableIterator<string> | undefined>
  /** What is owed on credit, by account, token and payee, and by token and payee. */
  exposures: Map<string, bigint>
  /** By grantId, payee and request id; oldest first. */
  requests: Map<string, RememberedRequest>
  /** Usage events of each partition by event id, oldest first. */
  queues: Map<string, QueuedEvent>[]
  /** The processes, as it were: meters that are not closed. */
  instances: Set<string>
  /** The time of the newest event; event times never fall. */
  lastEventMs: number
  lastSequence: number
}

export type RememberedRequest = ChargedRequest & { expiresAtMs: number }

/** `open`: the request has no outcome. `taken`: read for the journal, so it cannot be captured any more. */
export type QueuedEvent = {
  event: UsageEvent
  instance: string
  open: boolean
  taken: boolean
  /** Where it was counted, so that a capture can take it out again. */
  counted: { minute: number; keys: string[] }
}

/** An empty store. Several embedded meters may share one, as several processes share a Redis. */
export function createEmbeddedStore(): EmbeddedStore {
  return {
    grants: new Map(),
    accounts: new Map(),
    sweeps: { grants: undefined, accounts: undefined },
    exposures: new Map(),
    requests: new Map(),
    queues: Array.from({ length: partitionCount }, () => new Map()),
    instances: new Set(),
    lastEventMs: 0,
    // Another start of this process must not give the same ids to other events, whatever the clock says.
    lastSequence: randomInt(2 ** 40),
  }
}
