import {
  type AccountAdapter,
  type Bundler,
  encodeSettle,
  prepareUserOperation,
  readSettlementOutcome,
  type SettlementOutcome,
  type Sponsor,
  SponsorshipRefusedError,
  toRpcUserOperation,
} from '@protocolbanks/stream-bundler-client'
import { isDatabaseUnavailable, type SettlementWork } from '@protocolbanks/stream-db'
import { type Address, BaseError, type Hex, type Voucher } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { type PublicClient, BaseError as ViemError } from 'viem'
import type { InclusionWatcher } from '../inclusion/inclusionWatcher.ts'
import { buildClaims, type LeftOut } from './buildClaims.ts'
import { checkGrant } from './checkGrant.ts'
import { decideNext, type RetryPolicy } from './decideNext.ts'
import {
  ChainUnavailableError,
  LeaseLostError,
  NoClaimError,
  OperationDroppedError,
  OtherSettlerError,
  SettlementRevertedError,
} from './errors.ts'
import { type FoundOutcome, findOutcome, hasPaid } from './findOutcome.ts'
import type { SettlementStore } from './settlementStore.ts'

export type SettleDeps = {
  chainId: number
  module: Address
  adapter: AccountAdapter
  chain: Pick<PublicClient, 'readContract' | 'getBlockNumber' | 'getLogs' | 'getTransactionReceipt'>
  bundler: Pick<Bundler, 'fees' | 'estimate' | 'send' | 'isPending'>
  sponsor: Sponsor
  watcher: InclusionWatcher
  settler: { address: Address; sign(parameters: { hash: Hex }): Promise<Hex> }
  hashVoucher: (voucher: Voucher) => Uint8Array
  retryPolicy: RetryPolicy
  inclusionTimeoutMs: number
  lookbackBlocks: bigint
  clock(): number
  logger: Logger
}

/** How a look at a settlement ended. `lost`: another worker has it, or Postgres is gone and its lease runs out. */
export type SettleResult =
  | { outcome: 'confirmed'; paid: bigint }
  | { outcome: 'waiting' | 'retry' | 'dead'; code: string }
  | { outcome: 'lost' }

/** A bundler that holds an operation for longer than this without including it will not: another one is built. */
const maxPendingMs = 300_000

/**
 * Brings one settlement to its next state: looks for what was sent before, else builds, records, sends and waits. Every
 * step can be repeated, because the module pays only what is new. Never throws.
 */
export async function settleOne(
  work: SettlementWork,
  store: SettlementStore,
  deps: SettleDeps,
  signal: AbortSignal,
): Promise<SettleResult> {
  const { id, grantId, attempts } = work.settlement
  const { logger, retryPolicy, clock } = deps
  try {
    return await attempt(work, store, deps, signal)
  } catch (thrown) {
    if (thrown instanceof LeaseLostError || isPostgresGone(thrown)) {
      logger.warn({ settlement: id, grantId, reason: firstLine(thrown) }, 'left to whoever leases it next')
      return { outcome: 'lost' }
    }
    try {
      const error = await explain(thrown, work, deps)
      const next = decideNext(error, attempts, retryPolicy)
      const failure = { errorCode: codeOf(error), errorMessage: messageOf(error) }
      const told = { settlement: id, grantId, attempts, next, ...failure }
      if (next.do === 'giveUp') {
        logger.error(told, 'settlement given up; an operator has to retry it or write it off')
        await store.dead(failure)
        return { outcome: 'dead', code: failure.errorCode }
      }
      logger.warn(told, 'settlement not done yet')
      const nextAttemptAt = new Date(clock() + next.ms)
      if (next.do === 'wait') await store.release(nextAttemptAt)
      else await store.retry({ ...failure, nextAttemptAt })
      return { outcome: next.do === 'wait' ? 'waiting' : 'retry', code: failure.errorCode }
    } catch (error) {
      // Postgres is gone, or the lease: it is looked up again from what was recorded.
      logger.warn({ settlement: id, grantId, reason: firstLine(error) }, 'left to whoever leases it next')
      return { outcome: 'lost' }
    }
  }
}

async function attempt(
  work: SettlementWork,
  store: SettlementStore,
  deps: SettleDeps,
  signal: AbortSignal,
): Promise<SettleResult> {
  const { settlement, grant } = work
  const { chain, bundler, clock, lookbackBlocks } = deps
  if (grant.settler !== deps.settler.address && grant.sessionKey !== deps.settler.address) {
    const { grantId, settler } = grant
    throw new OtherSettlerError({ grantId, settler, ours: deps.settler.address })
  }
  const head = await chain.getBlockNumber({ cacheTime: 0 })
  const { userOpHash, state } = settlement
  if (userOpHash) {
    const found = await findOutcome(chain, refOf(work, deps), {
      userOpHashes: [userOpHash, ...settlement.earlierUserOpHashes],
      fromBlock: head > lookbackBlocks ? head - lookbackBlocks : 0n,
    })
    // One that reverted was counted as a failed attempt before; the next attempt is due now.
    if (found && (found.outcome.success || state !== 'failed')) return confirm(work, store, found)
    if (await isStillPending(userOpHash))
      return waitAndConfirm(work, store, deps, { userOpHash, fromBlock: head, signal })
    if (state === 'submitted') throw new OperationDroppedError({ userOpHash })
  }

  const built = buildCallData(work, deps)
  const prepared = await prepareUserOperation(deps, {
    chainId: deps.chainId,
    adapter: deps.adapter,
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
  return waitAndConfirm(work, store, deps, { userOpHash: prepared.userOpHash, fromBlock: head, signal, ...built })

  async function isStillPending(hash: Hex): Promise<boolean> {
    if (clock() - settlement.updatedAt.getTime() > maxPendingMs) return false
    return bundler.isPending(hash)
  }
}

function buildCallData(
  { settlement, grant, items }: SettlementWork,
  { hashVoucher, module, logger }: SettleDeps,
): { callData: Hex; leftOut: LeftOut[] } {
  const { grantId, account } = grant
  const { claims, leftOut } = buildClaims(hashVoucher, { grantId, terms: grant, items })
  if (leftOut.length > 0)
    logger.error({ settlement: settlement.id, grantId, leftOut }, 'vouchers that cannot be settled')
  if (claims.length === 0) throw new NoClaimError({ grantId, leftOut })
  return { callData: encodeSettle({ module, account, terms: grant, claims }), leftOut }
}

async function waitAndConfirm(
  work: SettlementWork,
  store: SettlementStore,
  deps: SettleDeps,
  sent: { userOpHash: Hex; fromBlock: bigint; signal: AbortSignal; leftOut?: LeftOut[] },
): Promise<SettleResult> {
  const { userOpHash, fromBlock, signal, leftOut } = sent
  const { settlement } = work
  const timeoutMs = deps.inclusionTimeoutMs
  const receipt = await deps.watcher.wait(userOpHash, { fromBlock, timeoutMs, signal })
  const outcome = readSettlementOutcome(receipt, { ...refOf(work, deps), userOpHash })
  if (!outcome) throw new OperationDroppedError({ userOpHash })
  const earlier = [...settlement.earlierUserOpHashes, ...(settlement.userOpHash ? [settlement.userOpHash] : [])]
  if (!hasPaid(outcome) && earlier.length > 0) {
    // An earlier attempt may have been included after all, and paid.
    const fromEarlier = fromBlock > deps.lookbackBlocks ? fromBlock - deps.lookbackBlocks : 0n
    const found = await findOutcome(deps.chain, refOf(work, deps), { userOpHashes: earlier, fromBlock: fromEarlier })
    if (found && hasPaid(found.outcome)) return confirm(work, store, found, leftOut)
  }
  return confirm(work, store, { userOpHash, outcome }, leftOut)
}

async function confirm(
  { items }: SettlementWork,
  store: SettlementStore,
  { userOpHash, outcome }: FoundOutcome,
  leftOut: readonly LeftOut[] = [],
): Promise<SettleResult> {
  if (!outcome.success) throw new SettlementRevertedError({ userOpHash, reason: outcome.revertReason })
  const { transactionHash, blockNumber, gasUsed, gasCostWei } = outcome
  await store.confirmed({
    userOpHash,
    txHash: transactionHash,
    blockNumber,
    gasUsed,
    gasCostWei,
    items: items.map(({ payee }) => outcomeOf(payee, outcome.claims, leftOut)),
  })
  return { outcome: 'confirmed', paid: outcome.claims.reduce((sum, { paid }) => sum + paid, 0n) }
}

function outcomeOf(
  payee: Address,
  claims: (SettlementOutcome & { success: true })['claims'],
  leftOut: readonly LeftOut[],
): { payee: Address; paid: bigint; skippedReason?: string } {
  const claim = claims.find((one) => one.payee === payee)
  if (claim) {
    const { paid, skippedReason } = claim
    return { payee, paid, ...(skippedReason !== undefined && { skippedReason }) }
  }
  return { payee, paid: 0n, skippedReason: leftOut.find((one) => one.payee === payee)?.reason ?? 'not claimed' }
}

function refOf({ grant }: SettlementWork, { adapter, module }: SettleDeps) {
  return { entryPoint: adapter.entryPoint.address, module, account: grant.account, grantId: grant.grantId }
}

/** Other services' network errors look the same, but come wrapped. */
function isPostgresGone(error: unknown): boolean {
  return !(error instanceof BaseError) && !(error instanceof ViemError) && isDatabaseUnavailable(error)
}

// Codes whose words do not tell whether the grant is the reason.
const unclear = new Set([
  'account.signature',
  'account.validation',
  'bundler.reverted',
  'bundler.expired',
  'settlement.reverted',
])

/** The error, or what the chain says is behind it. */
async function explain(thrown: unknown, work: SettlementWork, deps: SettleDeps): Promise<unknown> {
  const error = thrown instanceof ViemError ? new ChainUnavailableError(thrown) : thrown
  if (!(error instanceof BaseError)) return error
  const isAboutGrant = error instanceof SponsorshipRefusedError && error.refusal.startsWith('sponsor.grant_')
  if (!unclear.has(error.code) && !isAboutGrant) return error
  try {
    const nowSeconds = Math.floor(deps.clock() / 1_000)
    return (await checkGrant({ chain: deps.chain, module: deps.module, nowSeconds }, work.grant)) ?? error
  } catch (cause) {
    return cause instanceof ViemError ? new ChainUnavailableError(cause) : error
  }
}

function codeOf(error: unknown): string {
  return error instanceof BaseError ? error.code : 'internal'
}

function messageOf(error: unknown): string {
  if (error instanceof BaseError) return error.message
  return error instanceof Error ? `${error.name}: ${firstLine(error)}` : String(error)
}

/** Whole messages of viem name addresses, which carry keys. */
function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 300) : String(error)
}
