import {
  type AccountAdapter,
  type Bundler,
  type Fees,
  type PrepareParams,
  prepareUserOperation,
  type Sponsor,
  toRpcUserOperation,
  type UserOperation,
} from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { PublicClient } from 'viem'
import type { InclusionWatcher } from '../inclusion/inclusionWatcher.ts'
import type { ChooseDeps } from '../payable/chooseClaims.ts'
import type { LeftOut } from './buildClaims.ts'
import { FeeAboveLimitError } from './errors.ts'
import { type Attempts, attemptsOf } from './findOutcomes.ts'
import type { JudgeDeps } from './judgeFailure.ts'
import type { SettlementStore } from './settlementStore.ts'
import type { CrashPoint } from './verdict.ts'

export type SettleDeps = JudgeDeps &
  Omit<ChooseDeps, 'chain'> & {
    chainId: number
    chain: ChooseDeps['chain'] & Pick<PublicClient, 'getBlockNumber' | 'getLogs' | 'getTransactionReceipt'>
    /** Whose events count: an account may have moved from one to another since an operation was sent. */
    entryPoints: readonly Address[]
    /** @throws UnknownAccountError; viem's errors when the chain does not answer */
    accessTo(account: Address): Promise<AccountAccess>
    /** Whether the bundler holds an operation and has not included it yet. */
    isPending: Bundler['isPending']
    watcher: InclusionWatcher
    settler: { address: Address; sign(parameters: { hash: Hex }): Promise<Hex> }
    /** One look at an operation ends after this. */
    inclusionTimeoutMs: number
    lookbackBlocks: bigint
    /** Blocks that make an outcome final, its own included. */
    confirmations: number
    /** What waits longer than this is replaced with higher fees under the same nonce. */
    stuckMs: number
    /** Wei per gas: no operation is sent with more. */
    maxFeePerGas: bigint
    crashPoint: CrashPoint
  }

/** How an account is reached: what its kind asks for, and who serves its EntryPoint. */
export type AccountAccess = {
  adapter: AccountAdapter
  bundler: Pick<Bundler, 'fees' | 'estimate' | 'send'>
  sponsor: Sponsor
}

/** One look at a settlement that we hold. */
export type Look = {
  readonly work: SettlementWork
  readonly store: SettlementStore
  readonly deps: SettleDeps
  readonly signal: AbortSignal
  /** The chain's newest block when the look began; undefined until it is known. */
  head: bigint | undefined
  /** All that was ever recorded to be sent, what this look records among it. */
  attempts: Attempts
  /** The operation whose outcome is asked for; undefined: none, the newest was counted as a failed attempt. */
  newest: Hex | undefined
}

/** A recorded operation that is on its way, or about to be. */
export type Flight = {
  userOpHash: Hex
  userOperation: UserOperation
  /** When the bundler first took it, milliseconds; undefined: not known that it did. */
  sentAt: number | undefined
  /** Items that it has no claim for; empty when that is not known any more. */
  leftOut: readonly LeftOut[]
}

export function createLook(
  work: SettlementWork,
  { store, deps, signal }: Pick<Look, 'store' | 'deps' | 'signal'>,
): Look {
  const { state, userOpHash } = work.settlement
  const newest = state === 'retried' ? undefined : (userOpHash ?? undefined)
  return { work, store, deps, signal, head: undefined, attempts: attemptsOf(work), newest }
}

/** Gas, sponsorship and signature of an operation for the settlement; recorded, not sent. */
export async function prepareFlight(
  look: Look,
  { adapter, bundler, sponsor }: AccountAccess,
  operation: Pick<PrepareParams, 'callData' | 'nonce' | 'fees'>,
  leftOut: readonly LeftOut[],
): Promise<Flight> {
  const { work, store, deps, attempts } = look
  const { userOpHash, userOperation } = await prepareUserOperation(
    { chain: deps.chain, bundler, sponsor },
    {
      ...operation,
      chainId: deps.chainId,
      adapter,
      account: work.grant.account,
      validator: deps.module,
      lane: work.settlement.lane,
      sign: (hash) => deps.settler.sign({ hash }),
    },
  )
  deps.crashPoint('settlement.built')
  await store.record({ userOpHash, userOperation: toRpcUserOperation(userOperation) })
  deps.crashPoint('settlement.recorded')
  const userOpHashes = [...attempts.userOpHashes.filter((hash) => hash !== userOpHash), userOpHash]
  look.attempts = { ...attempts, userOpHashes, count: userOpHashes.length + work.transactions.length }
  look.newest = userOpHash
  return { userOpHash, userOperation, sentAt: undefined, leftOut }
}

/** @throws FeeAboveLimitError */
export function withinLimit(fees: Fees, limit: bigint): Fees {
  if (fees.maxFeePerGas > limit) throw new FeeAboveLimitError({ maxFeePerGas: fees.maxFeePerGas, limit })
  return fees
}
