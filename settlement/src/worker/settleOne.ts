import { encodeSettle, fromRpcUserOperation } from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import { chooseClaims } from '../payable/chooseClaims.ts'
import { driveOperation } from './driveOperation.ts'
import { OtherSettlerError } from './errors.ts'
import { type FoundOutcome, findOutcomes } from './findOutcomes.ts'
import { firstLine, isLost, judgeFailure } from './judgeFailure.ts'
import { isPayeeNotKnown, judgeOutcome } from './judgeOutcome.ts'
import { createLook, type Flight, type Look, prepareFlight, type SettleDeps, withinLimit } from './look.ts'
import { mergeOutcomes } from './mergeOutcomes.ts'
import type { SettlementStore } from './settlementStore.ts'
import { applyVerdict, type SettleResult, type Verdict } from './verdict.ts'

/** How soon a settlement is looked at again that only has to wait for blocks. */
const soonMs = 1_000

/**
 * Brings one settlement to its next state by a UserOperation of its own: looks for what was sent before, else builds,
 * records and sends, sees it through until it is deep enough in the chain, and reads the outcome. Every step can be
 * repeated, because the module pays only what is new. Never throws.
 */
export async function settleOne(
  work: SettlementWork,
  store: SettlementStore,
  deps: SettleDeps,
  signal: AbortSignal,
): Promise<SettleResult> {
  const { id, grantId } = work.settlement
  try {
    return await applyVerdict(store, await verdictOf(createLook(work, { store, deps, signal })), deps.crashPoint)
  } catch (error) {
    // Postgres is gone, or the lease: it is looked up again from what was recorded.
    deps.logger.warn({ settlement: id, grantId, reason: firstLine(error) }, 'left to whoever leases it next')
    return { outcome: 'lost' }
  }
}

async function verdictOf(look: Look): Promise<Verdict> {
  try {
    return await attempt(look)
  } catch (thrown) {
    if (isLost(thrown)) throw thrown
    return judgeFailure(thrown, look.work, look.deps, look.head)
  }
}

async function attempt(look: Look): Promise<Verdict> {
  const { store, deps } = look
  const { settlement, grant } = look.work
  const ours = deps.settler.address
  if (grant.settler !== ours && grant.sessionKey !== ours) {
    throw new OtherSettlerError({ grantId: grant.grantId, settler: grant.settler, ours })
  }
  const find = async () => findIncluded(look, await deps.chain.getBlockNumber({ cacheTime: 0 }))
  const head = await deps.chain.getBlockNumber({ cacheTime: 0 })
  look.head = head
  const found = await findIncluded(look, head)
  if (found) return conclude(look, found)
  if (settlement.state === 'included') await store.takenBack()
  const flight = recordedFlight(look) ?? (await build(look, head))
  const end = await driveOperation(flight, look, { build: () => build(look, head), find })
  if (end.kind === 'pending') return waitFor(look, 'bundler.receipt_timeout', 0)
  return conclude(look, end.found, end.flight)
}

/** The newest operation, unless it was counted as failed. */
function recordedFlight({ work: { settlement }, newest }: Look): Flight | undefined {
  const { userOperation, sentAt, state } = settlement
  if (newest === undefined || userOperation === null) return undefined
  // After a reorganisation nobody knows whether the bundler still has it.
  const sentAtMs = state === 'included' ? undefined : sentAt?.getTime()
  return { userOpHash: newest, userOperation: fromRpcUserOperation(userOperation), sentAt: sentAtMs, leftOut: [] }
}

/** The claims that can be paid now, as an operation with the lane's next nonce. */
async function build(look: Look, head: bigint): Promise<Flight> {
  const { deps } = look
  const { settlement, grant } = look.work
  const isNew = settlement.attempts === 0
  const { claims, leftOut } = await chooseClaims(look.work, deps, { blockNumber: head, isNew })
  const access = await deps.accessTo(grant.account)
  const fees = withinLimit(await access.bundler.fees(), deps.maxFeePerGas)
  const callData = encodeSettle({ module: deps.module, account: grant.account, terms: grant, claims })
  return prepareFlight(look, access, { callData, fees }, leftOut)
}

/**
 * What was included of all that was ever sent, when it is an outcome: something was paid, or the newest operation failed.
 * An earlier one that reverted was counted as a failed attempt then.
 */
async function findIncluded({ work, deps, attempts, newest }: Look, head: bigint): Promise<FoundOutcome | undefined> {
  if (attempts.count === 0) return undefined
  const fromBlock = head > deps.lookbackBlocks ? head - deps.lookbackBlocks : 0n
  const { entryPoints, module, chain } = deps
  const { account, grantId, attempts: failed } = work.settlement
  const ref = { entryPoints, module, account, grantId }
  const found = mergeOutcomes(await findOutcomes(chain, ref, { ...attempts, fromBlock }))
  if (!found) return undefined
  const isGood = found.outcome.success && !isPayeeNotKnown(found.outcome, { isFirst: failed === 0 })
  return isGood || (newest !== undefined && found.userOpHash === newest) ? found : undefined
}

/** Waits until it is deep enough in the chain, then says what came of it. */
async function conclude(look: Look, first: FoundOutcome, flight?: Flight): Promise<Verdict> {
  const { work, store, deps, signal } = look
  const { settlement } = work
  const { transactionHash: txHash, blockNumber } = first.outcome
  if (settlement.state !== 'included' || settlement.txHash !== txHash || settlement.blockNumber !== blockNumber) {
    await store.included({ txHash, blockNumber })
  }
  deps.crashPoint('settlement.included')
  const told = { isFirst: settlement.attempts === 0, leftOut: flight?.leftOut }
  if (deps.confirmations === 1) return judgeOutcome(work, first, told)
  const deepAt = blockNumber + BigInt(deps.confirmations - 1)
  const isDeep = await deps.watcher.waitForBlock(deepAt, { timeoutMs: deps.inclusionTimeoutMs, signal })
  if (!isDeep) return waitFor(look, 'settlement.confirming', soonMs)
  // Is it still there, in the same place?
  const head = await deps.chain.getBlockNumber({ cacheTime: 0 })
  const found = await findIncluded(look, head)
  if (found?.outcome.transactionHash !== txHash || found.outcome.blockNumber !== blockNumber || head < deepAt) {
    return waitFor(look, 'settlement.confirming', 0)
  }
  return judgeOutcome(work, found, told)
}

function waitFor({ deps }: Look, code: string, ms: number): Verdict {
  return { do: 'wait', code, nextAttemptAt: new Date(deps.clock() + ms) }
}
