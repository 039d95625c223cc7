import { estimateSettleMany, type Fees, readSettleManyOutcome } from '@protocolbanks/stream-bundler-client'
import type { SettlementTransaction, SettlementWork, TransactionEnd } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { PublicClient, TransactionReceipt } from 'viem'
import { type ChooseDeps, chooseClaims } from '../payable/chooseClaims.ts'
import type { LeftOut } from '../worker/buildClaims.ts'
import { checkGrant } from '../worker/checkGrant.ts'
import { FeeAboveLimitError, LeaseLostError, OtherTokenError, TransactionLostError } from '../worker/errors.ts'
import { attemptsOf, type FoundOutcome, findOutcomes } from '../worker/findOutcomes.ts'
import { firstLine, isLost, type JudgeDeps, judgeFailure } from '../worker/judgeFailure.ts'
import { isPayeeNotKnown, judgeOutcome } from '../worker/judgeOutcome.ts'
import { mergeOutcomes } from '../worker/mergeOutcomes.ts'
import type { Batch, Route } from '../worker/route.ts'
import type { SettlementStore } from '../worker/settlementStore.ts'
import { applyVerdict, type SettleResult, type Verdict } from '../worker/verdict.ts'
import { withLease } from '../worker/withLease.ts'
import {
  type DriveDeps,
  type DriveEnd,
  driveTransaction,
  type RecordedTransaction,
  signTransaction,
} from './driveTransaction.ts'
import { type Candidate, planTransaction, type TransactionPlan } from './planTransaction.ts'
import type { SettlementVerdict, TransactionStore } from './transactionStore.ts'

export type TransactionRouteDeps = JudgeDeps &
  Omit<ChooseDeps, 'chain' | 'neutral'> &
  Omit<DriveDeps, 'store'> & {
    chainId: number
    /** Grants in other tokens are not settled: theirs could use up all of the gas. */
    token: Address
    /** For UserOperations that were sent before this route was chosen. */
    entryPoints: readonly Address[]
    chain: DriveDeps['chain'] & ChooseDeps['chain'] & Pick<PublicClient, 'getLogs' | 'estimateGas'>
    store: TransactionStore
    storeOf(work: SettlementWork): SettlementStore
    leaseMs: number
    /** Accounts of one transaction. */
    maxAccounts: number
    maxGas: bigint
    lookbackBlocks: bigint
  }

/** How soon a settlement is looked at again that only has to wait for its turn, or for blocks. */
const soonMs = 1_000

/**
 * One transaction of a sender of ours for many settlements, and one at a time: nonces follow each other. Which worker
 * drives it is decided in Postgres; whoever takes over finds every version that may have been sent.
 */
export function createTransactionRoute(deps: TransactionRouteDeps): Route {
  const { store, clock, logger, leaseMs } = deps
  const choosing: ChooseDeps = { ...deps, neutral: deps.sender.address }
  /** Of what this process has built: who takes a transaction over does not know it. */
  const leftOutOf = new WeakMap<SettlementWork, LeftOut[]>()

  return {
    name: 'transaction',
    maxBatches: 1,
    batchSize: deps.maxAccounts,

    async takeUp() {
      const found = await store.takeUp()
      if (found.kind === 'busy') return undefined
      return found.kind === 'none' ? [] : [{ transaction: found.transaction, works: found.works }]
    },

    async settle({ works, transaction }, signal) {
      const results = new Map<SettlementWork, SettleResult>()
      try {
        await settleBatch({ works, transaction }, results, signal)
      } catch (error) {
        // Every step was recorded before it was taken.
        const sender = deps.sender.address
        logger.warn({ sender, reason: firstLine(error) }, 'left to whoever takes the transaction up next')
      }
      return works.map((work) => results.get(work) ?? { outcome: 'lost' })
    },
  }

  async function settleBatch(
    { works, transaction }: Batch,
    results: Map<SettlementWork, SettleResult>,
    signal: AbortSignal,
  ): Promise<void> {
    const leased = { transaction }
    const renew = async (until: Date) => {
      if (leased.transaction) return store.renew(leased.transaction.id, until)
      for (const work of works) if (!results.has(work)) await deps.storeOf(work).renew(until)
    }
    await withLease({ renew }, { leaseMs, clock, signal, logger }, async (held) => {
      const begun = transaction
        ? { recorded: toRecorded(transaction), members: works }
        : await begin(works, results, (opened) => {
            leased.transaction = opened
          })
      if (!begun) return
      const { recorded, members } = begun
      // Without one it was reserved by somebody who was gone before anything was signed.
      const end = recorded ? await driveTransaction(recorded, deps, held) : ({ kind: 'unsent' } as const)
      const id = recorded?.id ?? transaction?.id
      if (id !== undefined) await close({ id, nonce: recorded?.nonce ?? 0 }, members, results, end)
    })
  }

  /** Everything up to the recorded transaction. Undefined: none can be sent now, and all have their results. */
  async function begin(
    works: readonly SettlementWork[],
    results: Map<SettlementWork, SettleResult>,
    onOpen: (transaction: SettlementTransaction) => void,
  ): Promise<{ recorded: RecordedTransaction; members: SettlementWork[] } | undefined> {
    const write = async (work: SettlementWork, verdict: Verdict) => {
      results.set(work, await applyOne(work, verdict))
    }
    const postpone = (postponed: readonly SettlementWork[]) =>
      Promise.all(postponed.map((work) => write(work, waitFor('transaction.pending'))))
    const seen: { head?: bigint } = {}
    let plan: TransactionPlan
    let fees: Fees
    try {
      const head = await deps.chain.getBlockNumber({ cacheTime: 0 })
      seen.head = head
      const candidates = await chooseCandidates(works, head, write)
      if (candidates.length === 0) return undefined
      plan = await planTransaction(candidates, {
        estimate: (data) =>
          estimateSettleMany(deps.chain, {
            module: deps.module,
            sender: deps.sender.address,
            data,
            maxGas: deps.maxGas,
            blockNumber: head,
          }),
        check: ({ grant }) => checkGrant({ ...deps, nowSeconds: Math.floor(clock() / 1_000) }, grant),
      })
      fees = await currentFees()
    } catch (error) {
      if (isLost(error)) throw error
      // It concerns all that have no result yet.
      for (const work of works)
        if (!results.has(work)) await write(work, await judgeFailure(error, work, deps, seen.head))
      return undefined
    }
    for (const { work, error } of plan.refused) {
      await write(work, await judgeFailure(error, work, deps, seen.head))
    }
    await postpone(plan.later)
    const members = plan.candidates.map(({ work }) => work)
    if (members.length === 0) return undefined

    const opened = await store.open(members.map(({ settlement }) => settlement.id))
    if (!opened) {
      await postpone(members)
      return undefined
    }
    onOpen(opened)
    deps.crashPoint('settlement.built')
    const { address } = deps.sender
    // Read after the sender was reserved: nobody else of ours uses it now.
    const nonce = await deps.chain.getTransactionCount({ address, blockTag: 'latest' })
    const request = { chainId: deps.chainId, nonce, to: deps.module, data: plan.data, gas: plan.gas, ...fees }
    const version = await signTransaction(deps.sender, request)
    await store.record(opened.id, { nonce, ...version })
    deps.crashPoint('settlement.recorded')
    return { recorded: { id: opened.id, nonce, ...version, hashes: [version.hash], sentAt: null }, members }
  }

  /** Those that can be claimed now. Of the others the verdict is written. */
  async function chooseCandidates(
    works: readonly SettlementWork[],
    head: bigint,
    write: (work: SettlementWork, verdict: Verdict) => Promise<void>,
  ): Promise<Candidate[]> {
    const candidates: Candidate[] = []
    const accounts = new Set<Address>()
    for (const work of works) {
      try {
        const chosen = await choose(work, head, accounts)
        if ('do' in chosen) await write(work, chosen)
        else candidates.push(chosen)
      } catch (error) {
        if (isLost(error)) throw error
        await write(work, await judgeFailure(error, work, deps, head))
      }
    }
    return candidates
  }

  async function choose(work: SettlementWork, head: bigint, accounts: Set<Address>): Promise<Candidate | Verdict> {
    const { grant } = work
    const { grantId, account } = grant
    const attempts = attemptsOf(work)
    if (attempts.count > 0) {
      const outcomes = await findOutcomes(deps.chain, refOf(work), { ...attempts, fromBlock: lookBackFrom(head) })
      const found = mergeOutcomes(outcomes)
      const isFirst = attempts.count === 1
      // One that failed was counted as a failed attempt before.
      if (found?.outcome.success && !isPayeeNotKnown(found.outcome, { isFirst })) {
        const depth = head - found.outcome.blockNumber + 1n
        if (depth < BigInt(deps.confirmations)) return waitFor('transaction.pending')
        return judgeOutcome(work, found, { isFirst })
      }
    }
    // A second settlement of an account comes with the next transaction.
    if (accounts.has(account)) return waitFor('transaction.pending')
    if (grant.token !== deps.token) throw new OtherTokenError({ grantId, token: grant.token, ours: deps.token })
    const chosen = await chooseClaims(work, choosing, { blockNumber: head, isNew: attempts.count === 0 })
    leftOutOf.set(work, chosen.leftOut)
    accounts.add(account)
    return { work, claims: chosen.claims }
  }

  async function currentFees(): Promise<Fees> {
    const { maxFeePerGas, maxPriorityFeePerGas } = await deps.chain.estimateFeesPerGas()
    if (maxFeePerGas > deps.maxFeePerGas) throw new FeeAboveLimitError({ maxFeePerGas, limit: deps.maxFeePerGas })
    return { maxFeePerGas, maxPriorityFeePerGas }
  }

  /** Writes what became of a transaction and of every settlement in it. */
  async function close(
    { id, nonce }: { id: string; nonce: number },
    works: readonly SettlementWork[],
    results: Map<SettlementWork, SettleResult>,
    end: DriveEnd | { kind: 'unsent' },
  ): Promise<void> {
    const { address } = deps.sender
    if (end.kind === 'pending') {
      await store.release(id)
      for (const work of works) results.set(work, { outcome: 'waiting', code: 'transaction.pending' })
      return
    }
    const verdictOf = async (work: SettlementWork): Promise<Verdict> => {
      if (end.kind === 'unsent') return waitFor('transaction.pending')
      try {
        if (end.kind === 'lost') throw new TransactionLostError({ sender: address, nonce })
        return await judgeIncluded(work, id, end.receipt)
      } catch (error) {
        if (isLost(error)) throw error
        return judgeFailure(error, work, deps, end.kind === 'included' ? end.receipt.blockNumber : undefined)
      }
    }
    const verdicts: SettlementVerdict[] = []
    for (const work of works) verdicts.push({ work, verdict: await verdictOf(work) })
    deps.crashPoint('settlement.confirming')
    const closed = await store.close(id, toEnd(end), verdicts)
    deps.crashPoint('settlement.confirmed')
    for (const [index, work] of works.entries()) results.set(work, closed[index] ?? { outcome: 'lost' })
    logger.info({ transaction: id, end: end.kind, settlements: works.length }, 'transaction done')
  }

  async function judgeIncluded(work: SettlementWork, id: string, receipt: TransactionReceipt): Promise<Verdict> {
    const { account, grantId } = work.grant
    const leftOut = leftOutOf.get(work)
    const [outcome] = readSettleManyOutcome(receipt, { module: deps.module, settlements: [{ account, grantId }] })
    if (!outcome) throw new TypeError('One settlement has one outcome.')
    const now: FoundOutcome = { userOpHash: null, outcome }
    const earlier = attemptsOf({ ...work, transactions: work.transactions.filter((one) => one.id !== id) })
    if (earlier.count === 0) return judgeOutcome(work, now, { isFirst: true, leftOut })
    // An earlier attempt may have been included after all, and paid.
    const { blockNumber } = outcome
    const before = await findOutcomes(deps.chain, refOf(work), { ...earlier, fromBlock: lookBackFrom(blockNumber) })
    return judgeOutcome(work, mergeOutcomes([...before, now]) ?? now, { isFirst: false, leftOut })
  }

  function lookBackFrom(head: bigint): bigint {
    return head > deps.lookbackBlocks ? head - deps.lookbackBlocks : 0n
  }

  function refOf({ grant: { account, grantId } }: SettlementWork) {
    return { entryPoints: deps.entryPoints, module: deps.module, account, grantId }
  }

  function waitFor(code: string): Verdict {
    return { do: 'wait', code, nextAttemptAt: new Date(clock() + soonMs) }
  }

  async function applyOne(work: SettlementWork, verdict: Verdict): Promise<SettleResult> {
    try {
      return await applyVerdict(deps.storeOf(work), verdict, deps.crashPoint)
    } catch (error) {
      if (error instanceof LeaseLostError) return { outcome: 'lost' }
      throw error
    }
  }
}

function toEnd(end: DriveEnd | { kind: 'unsent' }): TransactionEnd {
  if (end.kind !== 'included') return { state: 'lost' }
  const { transactionHash, blockNumber, gasUsed, effectiveGasPrice } = end.receipt
  return { state: 'confirmed', txHash: transactionHash, blockNumber, gasUsed, gasCostWei: gasUsed * effectiveGasPrice }
}

function toRecorded({
  id,
  hashes,
  sentAt,
  nonce,
  rawTransaction,
}: SettlementTransaction): RecordedTransaction | undefined {
  return nonce === null || rawTransaction === null ? undefined : { id, hashes, sentAt, nonce, rawTransaction }
}
