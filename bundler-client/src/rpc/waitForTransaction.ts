import type { Hex } from '@protocolbanks/stream-protocol'
import type { TransactionReceipt } from 'viem'
import { BundlerUnavailableError, UserOperationTimeoutError } from '../errors/bundlerErrors.ts'
import type { Bundler } from './bundler.ts'

export type WaitOptions = {
  /** 60,000 by default. */
  timeoutMs?: number | undefined
  /** 250 by default. */
  pollMs?: number | undefined
  /** Ends the wait early. */
  signal?: AbortSignal | undefined
}

/**
 * Waits until a UserOperation is included. A bundler that does not answer for a while does not end the wait.
 *
 * @throws UserOperationTimeoutError when the time is over or `signal` aborts. The operation can still be included.
 */
export async function waitForTransaction(
  bundler: Pick<Bundler, 'findTransaction'>,
  userOpHash: Hex,
  { timeoutMs = 60_000, pollMs = 250, signal }: WaitOptions = {},
): Promise<TransactionReceipt> {
  const startedAt = performance.now()
  const waitedMs = () => Math.round(performance.now() - startedAt)
  while (waitedMs() < timeoutMs && !signal?.aborted) {
    try {
      const receipt = await bundler.findTransaction(userOpHash)
      if (receipt) return receipt
    } catch (error) {
      if (!(error instanceof BundlerUnavailableError)) throw error
    }
    await pause(pollMs, signal)
  }
  throw new UserOperationTimeoutError({ userOpHash, waitedMs: waitedMs() })
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', finish)
      resolve()
    }
    const timer = setTimeout(finish, ms)
    signal?.addEventListener('abort', finish, { once: true })
  })
}
