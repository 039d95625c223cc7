import type { SettlementWork } from '@protocolbanks/stream-db'
import type { SettleDeps } from '../worker/look.ts'
import type { Route } from '../worker/route.ts'
import type { SettlementStore } from '../worker/settlementStore.ts'
import { settleOne } from '../worker/settleOne.ts'
import { withLease } from '../worker/withLease.ts'

export type UserOperationRouteDeps = SettleDeps & {
  storeOf(work: SettlementWork): SettlementStore
  leaseMs: number
  /** Settlements at once. */
  maxInFlight: number
}

/** One sponsored UserOperation for each settlement; the bundler bundles them. */
export function createUserOperationRoute(deps: UserOperationRouteDeps): Route {
  const { storeOf, leaseMs, maxInFlight, clock, logger } = deps
  const settle = (work: SettlementWork, signal: AbortSignal) => {
    const store = storeOf(work)
    return withLease(store, { leaseMs, clock, signal, logger }, (held) => settleOne(work, store, deps, held))
  }
  return {
    name: 'user-operation',
    maxBatches: maxInFlight,
    batchSize: 1,
    // Each stands for itself: there is nothing to take up but the settlements that are due.
    takeUp: async () => [],
    settle: ({ works }, signal) => Promise.all(works.map((work) => settle(work, signal))),
  }
}
