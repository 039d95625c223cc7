import {
  type AccountAdapter,
  type Bundler,
  encodeSettle,
  prepareUserOperation,
  type Sponsor,
  toRpcUserOperation,
} from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import type { Address, Hex, Voucher } from '@protocolbanks/stream-protocol'
import type { PublicClient } from 'viem'
import type { InclusionWatcher } from '../inclusion/inclusionWatcher.ts'
import { buildClaims, type LeftOut } from './buildClaims.ts'
import { NoClaimError, OperationDroppedError, OtherSettlerError } from './errors.ts'
import { type Attempts, attemptsOf, type FoundOutcome, findOutcomes, readOutcome } from './findOutcomes.ts'
import { firstLine, isLost, type JudgeDeps, judgeFailure } from './judgeFailure.ts'
import { isPayeeNotKnown, judgeOutcome } from './judgeOutcome.ts'
import { mergeOutcomes } from './mergeOutcomes.ts'
import { readKnownPayees } from './readKnownPayees.ts'
import type { SettlementStore } from './settlementStore.ts'
import { applyVerdict, type SettleResult, type Verdict } from './verdict.ts'

export type SettleDeps = JudgeDeps & {
  chainId: number
  chain: Pick<PublicClient, 'readContract' | 'multicall' | 'getBlockNumber' | 'getLogs' | 'getTransactionReceipt'>
  /** Whose events count: an account may have moved from one to another since an operation was sent. */
  entryPoints: readonly Address[]
  /** @throws UnknownAccountError; viem's errors when the chain does not answer */
  accessTo(account: Address): Promise<AccountAccess>
  /** Whether the bundler holds an operation and has not included it yet. */
  isPending: Bundler['isPending']
  watcher: InclusionWatcher
  settler: { address: Hex; sign(parameters: { hash: Hex }): Promise<Hex> }
  hashVoucher: (voucher: Voucher) => Uint8Array
  inclusionTimeoutMs: number
  lookbackBlocks: bigint
}

/** How an account is reached: what its kind asks for, and who serves its EntryPoint. */
export type AccountAccess = {
  adapter: AccountAdapter
  bundler: Pick<Bundler, 'fees' | 'estimate' | 'send'>
  sponsor: Sponsor
}

/** A bundler that holds an operation for longer than this without including it will not: another one is built. */
const maxPendingMs = 300_000

/**
 * Brings one settlement to its next state by a UserOperation of its own: looks for what was sent before, else builds,
 * records, sends and waits. Every step can be repeated, because the module pays only what is new. Never throws.
 */
export async function settleOne(
  work: SettlementWork,
  store: SettlementStore,
  deps: SettleDeps,
  signal: AbortSignal,
): Promise<SettleResult> {
  const { id, grantId } = work.settlement
  try {
    return await applyVerdict(store, await look(work, store, deps, signal))
  } catch (error) {
    // Postgres is gone, or the lease: it is looked up again from what was recorded.
    deps.logger.warn({ settlement: id, grantId, reason: firstLine(error) }, 'left to whoever leases it next')
    return { outcome: 'lost' }
  }
}

async function look(
  work: SettlementWork,
  store: SettlementStore,
  deps: SettleDeps,
  signal: AbortSignal,
): Promise<Verdict> {
  try {
    return await attempt(work, store, deps, signal)
  } catch (thrown) {
    if (isLost(thrown)) throw thrown
    return judgeFailure(thrown, work, deps)
  }
}

async function attempt(
  work: SettlementWork,
  store: SettlementStore,
  deps: SettleDeps,
  signal: AbortSignal,
): Promise<Verdict> {
  const { settlement, grant } = work
  const { chain, clock } = deps
  if (grant.settler !== deps.settler.address && grant.sessionKey !== deps.settler.address) {
    const { grantId, settler } = grant
    throw new OtherSettlerError({ grantId, settler, ours: deps.settler.address })
  }
  const head = await chain.getBlockNumber({ cacheTime: 0 })
  const { userOpHash, state } = settlement
  const attempts = attemptsOf(work)
  if (attempts.count > 0) {
    const isFirst = attempts.count === 1
    const found = mergeOutcomes(await findAttempts(work, deps, { ...attempts, head }))
    // One that failed was counted as a failed attempt before; the next attempt is due now.
    if (found && (state !== 'failed' || (found.outcome.success && !isPayeeNotKnown(found.outcome, { isFirst })))) {
      return judgeOutcome(work, found, { isFirst })
    }
    if (userOpHash && (await isStillPending(userOpHash)))
      return waitForOutcome(work, deps, { userOpHash, fromBlock: head, signal })
    if (userOpHash && state === 'submitted') throw new OperationDroppedError({ userOpHash })
  }

  const isNew = attempts.count === 0
  const known = isNew ? await readKnownPayees(chain, work, { module: deps.module, blockNumber: head }) : undefined
  const built = buildCallData(work, deps, known)
  const { adapter, bundler, sponsor } = await deps.accessTo(grant.account)
  const clients = { chain, bundler, sponsor }
  const prepared = await prepareUserOperation(clients, {
    chainId: deps.chainId,
    adapter,
    account: grant.account,
    validator: deps.module,
    lane: settlement.lane,
    callData: built.callData,
    sign: (hash) => deps.settler.sign({ hash }),
  })
  await store.record({ userOpHash: prepared.userOpHash, userOperation: toRpcUserOperation(prepared.userOperation) })
  await bundler.send(prepared.userOperation)
  await store.submitted()
  deps.logger.info({ settlement: settlement.id, grantId: grant.grantId, userOpHash: prepared.userOpHash }, 'submitted')
  return waitForOutcome(work, deps, { userOpHash: prepared.userOpHash, fromBlock: head, signal, ...built })

  async function isStillPending(hash: Hex): Promise<boolean> {
    if (clock() - settlement.updatedAt.getTime() > maxPendingMs) return false
    return deps.isPending(hash)
  }
}

function buildCallData(
  { settlement, grant, items }: SettlementWork,
  { hashVoucher, module, logger }: SettleDeps,
  known: ReadonlySet<Hex> | undefined,
): { callData: Hex; leftOut: LeftOut[] } {
  const { grantId, account } = grant
  const { claims, leftOut } = buildClaims(hashVoucher, { grantId, terms: grant, items, known })
  if (leftOut.length > 0)
    logger.error({ settlement: settlement.id, grantId, leftOut }, 'vouchers that cannot be settled')
  if (claims.length === 0) throw new NoClaimError({ grantId, leftOut })
  return { callData: encodeSettle({ module, account, terms: grant, claims }), leftOut }
}

async function waitForOutcome(
  work: SettlementWork,
  deps: SettleDeps,
  sent: { userOpHash: Hex; fromBlock: bigint; signal: AbortSignal; leftOut?: LeftOut[] },
): Promise<Verdict> {
  const { userOpHash, fromBlock, signal, leftOut } = sent
  const timeoutMs = deps.inclusionTimeoutMs
  const receipt = await deps.watcher.wait(userOpHash, { fromBlock, timeoutMs, signal })
  const outcome = readOutcome(receipt, { ...refOf(work, deps), userOpHash })
  if (!outcome) throw new OperationDroppedError({ userOpHash })
  const now: FoundOutcome = { userOpHash, outcome }
  const { userOpHashes, transactionHashes } = attemptsOf(work)
  const earlier = { userOpHashes: userOpHashes.filter((hash) => hash !== userOpHash), transactionHashes }
  if (earlier.userOpHashes.length + transactionHashes.length === 0) {
    return judgeOutcome(work, now, { isFirst: true, leftOut })
  }
  // An earlier attempt may have been included after all, and paid.
  const before = await findAttempts(work, deps, { ...earlier, head: fromBlock })
  return judgeOutcome(work, mergeOutcomes([...before, now]) ?? now, { isFirst: false, leftOut })
}

function findAttempts(
  work: SettlementWork,
  deps: SettleDeps,
  { head, ...attempts }: Omit<Attempts, 'count'> & { head: bigint },
): Promise<FoundOutcome[]> {
  const fromBlock = head > deps.lookbackBlocks ? head - deps.lookbackBlocks : 0n
  return findOutcomes(deps.chain, refOf(work, deps), { ...attempts, fromBlock })
}

function refOf({ grant }: SettlementWork, { entryPoints, module }: SettleDeps) {
  return { entryPoints, module, account: grant.account, grantId: grant.grantId }
}
