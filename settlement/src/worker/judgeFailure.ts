import { SponsorshipRefusedError } from '@protocolbanks/stream-bundler-client'
import { isDatabaseUnavailable, type SettlementWork } from '@protocolbanks/stream-db'
import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { type PublicClient, BaseError as ViemError } from 'viem'
import { checkGrant } from './checkGrant.ts'
import { decideNext, type RetryPolicy } from './decideNext.ts'
import { ChainUnavailableError, LeaseLostError, UnpayableError } from './errors.ts'
import type { Verdict } from './verdict.ts'

export type JudgeDeps = {
  module: Address
  chain: Pick<PublicClient, 'readContract'>
  retryPolicy: Omit<RetryPolicy, 'nowMs'>
  clock(): number
  logger: Logger
}

/** What becomes of a settlement whose look threw. `lookedBlock`: the chain's block at its beginning, as far as it is known. */
export async function judgeFailure(
  thrown: unknown,
  work: SettlementWork,
  deps: JudgeDeps,
  lookedBlock: bigint | undefined,
): Promise<Verdict> {
  const { id, grantId, attempts, waits } = work.settlement
  const { logger, retryPolicy, clock } = deps
  const error = await explain(thrown, work, deps)
  const { reason, ...next } = decideNext(error, { attempts, waits }, { ...retryPolicy, nowMs: clock() })
  const failure = { reason, errorCode: codeOf(error), errorMessage: messageOf(error) }
  const told = { settlement: id, grantId, attempts, next, ...failure }
  if (next.do === 'giveUp') {
    logger.error(told, 'settlement given up; an operator has to retry it or write it off')
    return { do: 'giveUp', failure }
  }
  logger.warn(told, 'settlement not done yet')
  const nextAttemptAt = new Date(clock() + next.ms)
  switch (next.do) {
    case 'wait':
      return { do: 'wait', code: failure.errorCode, nextAttemptAt }
    case 'retry':
      return { do: 'retry', failure, nextAttemptAt }
    case 'postpone': {
      const blockedPayees = error instanceof UnpayableError ? error.blockedPayees : []
      return { do: 'postpone', failure, nextAttemptAt, lookedBlock: lookedBlock ?? 0n, blockedPayees }
    }
  }
}

/** Nothing can be written: another worker has the lease, or Postgres is gone and the lease runs out. */
export function isLost(error: unknown): boolean {
  return error instanceof LeaseLostError || isPostgresGone(error)
}

/** Whole messages of viem name addresses, which carry keys. */
export function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 300) : String(error)
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
async function explain(thrown: unknown, work: SettlementWork, deps: JudgeDeps): Promise<unknown> {
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
