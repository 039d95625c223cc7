import {
  type Confirmation,
  type Failure,
  markConfirmed,
  markDead,
  markIncluded,
  markRetry,
  markSubmitted,
  markTakenBack,
  markUnpayable,
  type Queryable,
  recordPayeeAnswers,
  recordUserOperation,
  releaseSettlement,
  renewSettlementLease,
} from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { LeaseLostError } from './errors.ts'

/** What the worker writes about one settlement it holds. Everything throws LeaseLostError once another worker has it. */
export type SettlementStore = {
  /** The UserOperation that is about to be sent. */
  record(operation: { userOpHash: Hex; userOperation: unknown }): Promise<void>
  submitted(): Promise<void>
  /** In a block that is not deep enough yet. */
  included(block: { txHash: Hex; blockNumber: bigint }): Promise<void>
  /** The block is gone. */
  takenBack(): Promise<void>
  /** `blockedPayees`: whom the token refused to pay. Those who were paid are blocked no longer. */
  confirmed(confirmation: Omit<Confirmation, 'id' | 'owner'>, blockedPayees: readonly Address[]): Promise<void>
  retry(failure: Omit<Failure, 'id' | 'owner'> & { nextAttemptAt: Date }): Promise<void>
  unpayable(
    failure: Omit<Failure, 'id' | 'owner'> & { nextAttemptAt: Date; lookedBlock: bigint },
    blockedPayees: readonly Address[],
  ): Promise<void>
  dead(failure: Omit<Failure, 'id' | 'owner'>): Promise<void>
  /** Not an outcome: somebody looks again at this moment. */
  release(nextAttemptAt: Date): Promise<void>
  renew(until: Date): Promise<void>
}

export type HeldSettlement = { id: string; owner: string; token: Address; clock(): number }

export function createSettlementStore(db: Queryable, { token, clock, ...held }: HeldSettlement): SettlementStore {
  const mustHold = async (isHeld: Promise<boolean>) => {
    if (!(await isHeld)) throw new LeaseLostError(held.id)
  }
  /** A change, and what the token answered, in one transaction. */
  const withAnswers = (
    { blocked, paid }: { blocked: readonly Address[]; paid: readonly Address[] },
    write: (tx: Queryable) => Promise<boolean>,
  ) =>
    mustHold(
      db.transaction(async (tx) => {
        if (!(await write(tx))) return false
        await recordPayeeAnswers(
          tx,
          [
            ...blocked.map((payee) => ({ token, payee, blocked: true })),
            ...paid.map((payee) => ({ token, payee, blocked: false })),
          ],
          new Date(clock()),
        )
        return true
      }),
    )
  return {
    record: (operation) => mustHold(recordUserOperation(db, { ...held, ...operation })),
    submitted: () => mustHold(markSubmitted(db, held)),
    included: (block) => mustHold(markIncluded(db, { ...held, ...block })),
    takenBack: () => mustHold(markTakenBack(db, held)),
    confirmed(confirmation, blocked) {
      const paid = confirmation.items.flatMap((item) => (item.paid > 0n ? [item.payee] : []))
      return withAnswers({ blocked, paid }, (tx) => markConfirmed(tx, { ...held, ...confirmation }))
    },
    retry: (failure) => mustHold(markRetry(db, { ...held, ...failure })),
    unpayable: (failure, blocked) =>
      withAnswers({ blocked, paid: [] }, (tx) => markUnpayable(tx, { ...held, ...failure })),
    dead: (failure) => mustHold(markDead(db, { ...held, ...failure })),
    release: (nextAttemptAt) => mustHold(releaseSettlement(db, { ...held, nextAttemptAt })),
    renew: (until) => mustHold(renewSettlementLease(db, { ...held, until })),
  }
}
