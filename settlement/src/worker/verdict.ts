import type { Confirmation } from '@protocolbanks/stream-db'
import type { SettlementStore } from './settlementStore.ts'

/** What a look at a settlement found out, before it is written. */
export type Verdict =
  | { do: 'confirm'; confirmation: Omit<Confirmation, 'id' | 'owner'> }
  /** Not an outcome: somebody looks again at this moment. */
  | { do: 'wait'; code: string; nextAttemptAt: Date }
  | { do: 'retry'; failure: VerdictFailure; nextAttemptAt: Date }
  | { do: 'giveUp'; failure: VerdictFailure }

export type VerdictFailure = { errorCode: string; errorMessage: string }

/** How a look at a settlement ended. `lost`: another worker has it, or Postgres is gone and its lease runs out. */
export type SettleResult =
  | { outcome: 'confirmed'; paid: bigint }
  | { outcome: 'waiting' | 'retry' | 'dead'; code: string }
  | { outcome: 'lost' }

/** @throws LeaseLostError, what the database says */
export async function applyVerdict(store: SettlementStore, verdict: Verdict): Promise<SettleResult> {
  switch (verdict.do) {
    case 'confirm':
      await store.confirmed(verdict.confirmation)
      return { outcome: 'confirmed', paid: verdict.confirmation.items.reduce((sum, { paid }) => sum + paid, 0n) }
    case 'wait':
      await store.release(verdict.nextAttemptAt)
      return { outcome: 'waiting', code: verdict.code }
    case 'retry':
      await store.retry({ ...verdict.failure, nextAttemptAt: verdict.nextAttemptAt })
      return { outcome: 'retry', code: verdict.failure.errorCode }
    case 'giveUp':
      await store.dead(verdict.failure)
      return { outcome: 'dead', code: verdict.failure.errorCode }
  }
}
