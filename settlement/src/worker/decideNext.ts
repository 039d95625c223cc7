import {
  BundlerUnavailableError,
  SponsorshipRefusedError,
  SponsorUnavailableError,
  UserOperationTimeoutError,
} from '@protocolbanks/stream-bundler-client'
import { BaseError } from '@protocolbanks/stream-protocol'
import { ChainUnavailableError, FeeAboveLimitError, GrantFrozenError, PayeeNotKnownError } from './errors.ts'

/** What becomes of a settlement whose attempt did not succeed. */
export type Next =
  /** Something we stand on is gone, or time has to pass. Does not count as an attempt. */
  | { do: 'wait'; ms: number }
  /** The attempt failed, another can succeed. */
  | { do: 'retry'; ms: number }
  /** No attempt can succeed, or there were enough: an operator decides. */
  | { do: 'giveUp' }

export type RetryPolicy = {
  /** Of the first retry, milliseconds; each further one is four times as long. */
  baseMs: number
  maxAttempts: number
  /** 0 to 1, spreads retries by up to a quarter. */
  random(): number
}

const unavailableMs = 2_000
const frozenMs = 60_000
const feeMs = 15_000
const budgetMs = 300_000

/** `attempts`: failed ones before this. */
export function decideNext(error: unknown, attempts: number, { baseMs, maxAttempts, random }: RetryPolicy): Next {
  const spread = (ms: number) => Math.round(ms * (1 + random() / 4))
  if (error instanceof UserOperationTimeoutError) return { do: 'wait', ms: 0 }
  if (isUnavailable(error)) return { do: 'wait', ms: spread(unavailableMs) }
  // Happens once: after the first attempt every claim has its proof.
  if (error instanceof PayeeNotKnownError) return { do: 'retry', ms: 0 }
  if (error instanceof FeeAboveLimitError) return { do: 'wait', ms: spread(feeMs) }
  if (error instanceof GrantFrozenError) return { do: 'wait', ms: spread(frozenMs) }
  if (error instanceof SponsorshipRefusedError && error.refusal === 'sponsor.budget_exceeded') {
    return { do: 'wait', ms: spread(budgetMs) }
  }
  // The chain says that the grant is live: the paymaster's mirror of it is behind.
  const isBehind = error instanceof SponsorshipRefusedError && error.refusal.startsWith('sponsor.grant_')
  const isFinal = error instanceof BaseError && !error.retryable && !isBehind
  if (isFinal || attempts + 1 >= maxAttempts) return { do: 'giveUp' }
  return { do: 'retry', ms: spread(baseMs * 4 ** attempts) }
}

function isUnavailable(error: unknown): boolean {
  return (
    error instanceof BundlerUnavailableError ||
    error instanceof SponsorUnavailableError ||
    error instanceof ChainUnavailableError ||
    (error instanceof SponsorshipRefusedError && error.refusal === 'sponsor.unavailable')
  )
}
