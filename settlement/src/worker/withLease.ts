import type { Logger } from 'pino'
import { LeaseLostError } from './errors.ts'
import type { SettlementStore } from './settlementStore.ts'

/**
 * Runs `work` and renews its lease meanwhile, so that a lease can be short: after a crash another worker takes over
 * within `leaseMs`. The signal that `work` gets aborts when the lease is lost, or with `signal`.
 */
export async function withLease<T>(
  store: Pick<SettlementStore, 'renew'>,
  options: { leaseMs: number; clock(): number; signal: AbortSignal; logger: Logger },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { leaseMs, clock, signal, logger } = options
  const lost = new AbortController()
  const timer = setInterval(async () => {
    try {
      await store.renew(new Date(clock() + leaseMs))
    } catch (error) {
      // Postgres may be back before the lease is over.
      if (error instanceof LeaseLostError) lost.abort()
      else logger.warn('a lease could not be renewed')
    }
  }, leaseMs / 3)
  try {
    return await work(AbortSignal.any([signal, lost.signal]))
  } finally {
    clearInterval(timer)
  }
}
