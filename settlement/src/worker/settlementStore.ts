import {
  type Confirmation,
  type Failure,
  markConfirmed,
  markDead,
  markRetry,
  markSubmitted,
  type Queryable,
  recordUserOperation,
  releaseSettlement,
  renewSettlementLease,
} from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import { LeaseLostError } from './errors.ts'

/** What the worker writes about one settlement it holds. Everything throws LeaseLostError once another worker has it. */
export type SettlementStore = {
  /** The UserOperation that is about to be sent. */
  record(operation: { userOpHash: Hex; userOperation: unknown }): Promise<void>
  submitted(): Promise<void>
  confirmed(confirmation: Omit<Confirmation, 'id' | 'owner'>): Promise<void>
  retry(failure: Omit<Failure, 'id' | 'owner'> & { nextAttemptAt: Date }): Promise<void>
  dead(failure: Omit<Failure, 'id' | 'owner'>): Promise<void>
  /** Not an outcome: somebody looks again at this moment. */
  release(nextAttemptAt: Date): Promise<void>
  renew(until: Date): Promise<void>
}

export function createSettlementStore(db: Queryable, held: { id: string; owner: string }): SettlementStore {
  const mustHold = async (isHeld: Promise<boolean>) => {
    if (!(await isHeld)) throw new LeaseLostError(held.id)
  }
  return {
    record: (operation) => mustHold(recordUserOperation(db, { ...held, ...operation })),
    submitted: () => mustHold(markSubmitted(db, held)),
    confirmed: (confirmation) => mustHold(markConfirmed(db, { ...held, ...confirmation })),
    retry: (failure) => mustHold(markRetry(db, { ...held, ...failure })),
    dead: (failure) => mustHold(markDead(db, { ...held, ...failure })),
    release: (nextAttemptAt) => mustHold(releaseSettlement(db, { ...held, nextAttemptAt })),
    renew: (until) => mustHold(renewSettlementLease(db, { ...held, until })),
  }
}
