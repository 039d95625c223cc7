import type { Confirmation, FailureReason } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { SettlementStore } from './settlementStore.ts'

/** What a look at a settlement found out, before it is written. */
export type Verdict =
  | { do: 'confirm'; confirmation: Omit<Confirmation, 'id' | 'owner'>; blockedPayees: readonly Address[] }
  /** Not an outcome: its state stays, and somebody looks again at this moment. */
  | { do: 'wait'; code: string; nextAttemptAt: Date }
  /** It cannot be paid for now, as of the chain's block `lookedBlock`. */
  | {
      do: 'postpone'
      failure: VerdictFailure
      nextAttemptAt: Date
      lookedBlock: bigint
      blockedPayees: readonly Address[]
    }
  | { do: 'retry'; failure: VerdictFailure; nextAttemptAt: Date }
  | { do: 'giveUp'; failure: VerdictFailure }

export type VerdictFailure = { reason: FailureReason; errorCode: string; errorMessage: string }

/** How a look at a settlement ended. `lost`: another worker has it, or Postgres is gone and its lease runs out. */
export type SettleResult =
  | { outcome: 'confirmed'; paid: bigint }
  | { outcome: 'waiting' | 'unpayable' | 'retry' | 'dead'; code: string }
  | { outcome: 'lost' }

/** @throws LeaseLostError, what the database says */
export async function applyVerdict(
  store: SettlementStore,
  verdict: Verdict,
  crashPoint: CrashPoint = noCrash,
): Promise<SettleResult> {
  switch (verdict.do) {
    case 'confirm': {
      crashPoint('settlement.confirming')
      const { confirmation, blockedPayees } = verdict
      await store.confirmed(confirmation, blockedPayees)
      crashPoint('settlement.confirmed')
      return { outcome: 'confirmed', paid: confirmation.items.reduce((sum, { paid }) => sum + paid, 0n) }
    }
    case 'wait':
      await store.release(verdict.nextAttemptAt)
      return { outcome: 'waiting', code: verdict.code }
    case 'postpone': {
      const { failure, nextAttemptAt, lookedBlock, blockedPayees } = verdict
      await store.unpayable({ ...failure, nextAttemptAt, lookedBlock }, blockedPayees)
      return { outcome: 'unpayable', code: failure.errorCode }
    }
    case 'retry':
      await store.retry({ ...verdict.failure, nextAttemptAt: verdict.nextAttemptAt })
      return { outcome: 'retry', code: verdict.failure.errorCode }
    case 'giveUp':
      await store.dead(verdict.failure)
      return { outcome: 'dead', code: verdict.failure.errorCode }
  }
}

/** A place where a test may let this process die; see runtime's createCrashPoints. */
export type CrashPoint = (name: `settlement.${string}`) => void

const noCrash: CrashPoint = () => {}
