import {
  type AccountSettlement,
  encodeSettleMany,
  type SettleManyEstimate,
  SettleManyTooLargeError,
} from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import type { Claim, Hex } from '@protocolbanks/stream-protocol'

export type Candidate = { work: SettlementWork; claims: Claim[] }

export type TransactionPlan = {
  /** In the order of the call data; none: nothing can be sent now. */
  candidates: Candidate[]
  data: Hex
  gas: bigint
  /** Why these are not in it. */
  refused: { work: SettlementWork; error: unknown }[]
  /** They would be too much for one transaction, and come next. */
  later: SettlementWork[]
}

export type PlanDeps = {
  /** @throws SettleManyTooLargeError */
  estimate(data: Hex): Promise<SettleManyEstimate>
  /** Why the chain would not settle the grant now. */
  check(work: SettlementWork): Promise<unknown>
}

/**
 * The largest transaction that can be sent: without grants that the chain says are not live, and within the gas bound.
 * What does not run at all is halved until the one that is the reason stands alone. Bounded: every round has fewer.
 */
export async function planTransaction(candidates: readonly Candidate[], deps: PlanDeps): Promise<TransactionPlan> {
  const plan: TransactionPlan = { candidates: [...candidates], data: '0x', gas: 0n, refused: [], later: [] }
  while (plan.candidates.length > 0) {
    plan.data = encodeSettleMany(plan.candidates.map(toAccountSettlement))
    const estimate = await deps.estimate(plan.data).catch((error: unknown) => {
      if (error instanceof SettleManyTooLargeError) return error
      throw error
    })
    if (estimate instanceof SettleManyTooLargeError) {
      const half = Math.floor(plan.candidates.length / 2)
      if (half === 0) plan.refused.push(...plan.candidates.map(({ work }) => ({ work, error: estimate })))
      else plan.later.push(...plan.candidates.slice(half).map(({ work }) => work))
      plan.candidates = plan.candidates.slice(0, half)
      continue
    }
    plan.gas = estimate.gas
    const idle = plan.candidates.filter((_, index) => (estimate.paid[index] ?? 0n) === 0n)
    const stopped = new Map<SettlementWork, unknown>()
    for (const { work } of idle) {
      const error = await deps.check(work)
      if (error !== undefined) stopped.set(work, error)
    }
    if (stopped.size === 0) return plan
    for (const [work, error] of stopped) plan.refused.push({ work, error })
    plan.candidates = plan.candidates.filter(({ work }) => !stopped.has(work))
  }
  return plan
}

function toAccountSettlement({ work, claims }: Candidate): AccountSettlement {
  return { account: work.grant.account, terms: work.grant, claims }
}
