import type { SettlementTransaction, SettlementWork } from '@protocolbanks/stream-db'
import type { SettleResult } from './verdict.ts'

/** Settlements that go to the chain together, each of another account. */
export type Batch = {
  works: SettlementWork[]
  /** Open, of somebody who is gone: the settlements are in it. */
  transaction?: SettlementTransaction | undefined
}

/** A way to the chain: UserOperations of the accounts, or transactions of a sender of ours. */
export type Route = {
  readonly name: 'user-operation' | 'transaction'
  /** Batches at once. */
  readonly maxBatches: number
  /** Settlements of one batch at most. */
  readonly batchSize: number
  /** What somebody else began and left, now ours. Undefined: another worker has what only one can have; begin nothing. */
  takeUp(): Promise<Batch[] | undefined>
  /** Brings each to its next state; results in the order of the works. Never throws. */
  settle(batch: Batch, signal: AbortSignal): Promise<SettleResult[]>
}
