import { setTimeout as delay } from 'node:timers/promises'
import type { BreakerView } from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { type BreakerPolicy, type BreakerStep, decideBreaker } from './decideBreaker.ts'

/** A grant that goes on, and since when its charges count against the tighter limits. */
export type OnProbation = { grantId: Hex; since: Date }

export type BreakerWorkerDeps = {
  /** Of breakers that may move, after a grant's id, in that order. */
  listViews(page: { after: string | undefined; stopsSince: Date; limit: number }): Promise<BreakerView[]>
  /** Takes a step; false when another sentinel took one before. */
  move(view: BreakerView, step: BreakerStep, now: Date): Promise<boolean>
  /** Tells the gateways that they may serve it again. */
  lift(grantId: Hex): Promise<unknown>
  /** What owners rejected is stopped for good. How many there were. */
  stopRejected(): Promise<number>
  /** Incidents say what is known by now to be accepted and not settled. */
  refreshAccepted(): Promise<unknown>
  /** What stopped nothing and was not found again for long is closed. */
  closeQuiet(): Promise<unknown>
  /** Who goes on and is watched more closely, from when this resolves. */
  onProbation(grants: readonly OnProbation[]): Promise<void>
  /** There is something new to stop. */
  wake(): void
  policy: BreakerPolicy
  /** Within which freezes count together. */
  revokeWithinMs: number
  clock(): number
  pollMs: number
  logger: Logger
}

/** How many breakers are in each state, of those that may move. */
export type BreakerCounts = { open: number; half_open: number }

export type BreakerWorker = { run(signal: AbortSignal): Promise<void>; counts(): BreakerCounts }

const pageSize = 500
const liftsAtOnce = 8

/** Moves every breaker that may move. What fails is tried again at the next look. */
export function createBreakerWorker(deps: BreakerWorkerDeps): BreakerWorker {
  const { clock, logger, policy, pollMs } = deps
  let counts: BreakerCounts = { open: 0, half_open: 0 }

  async function look(signal: AbortSignal): Promise<void> {
    if ((await deps.stopRejected()) > 0) deps.wake()
    await deps.refreshAccepted()
    await deps.closeQuiet()
    const seen: BreakerCounts = { open: 0, half_open: 0 }
    const onProbation: OnProbation[] = []
    const toLift: Hex[] = []
    let after: string | undefined
    while (!signal.aborted) {
      const stopsSince = new Date(clock() - deps.revokeWithinMs)
      const page = await deps.listViews({ after, stopsSince, limit: pageSize })
      for (const view of page) {
        const { grantId, since, liftedAt } = view
        const at = new Date(clock())
        const state = await step(view, at)
        if (state === 'open' || state === 'half_open') seen[state]++
        if (state !== 'half_open') continue
        const isNew = view.state !== 'half_open'
        onProbation.push({ grantId, since: isNew ? at : since })
        if (isNew || liftedAt === null) toLift.push(grantId)
      }
      after = page.at(-1)?.grantId
      if (page.length < pageSize) break
    }
    if (signal.aborted) return
    counts = seen
    // Before anybody is served again: no call is to go unwatched.
    await deps.onProbation(onProbation)
    await liftAll(toLift)
  }

  /** The state after it. */
  async function step(view: BreakerView, at: Date): Promise<BreakerView['state']> {
    const { grantId, account, state } = view
    const next = decideBreaker(view, at.getTime(), policy)
    if (!next || !(await deps.move(view, next, at))) return state
    logger.warn({ grantId, account, from: state, ...next }, 'the breaker moves')
    if (next.to !== 'revoke' && next.to !== 'stop_again') return next.to
    deps.wake()
    return state
  }

  async function liftAll(grantIds: readonly Hex[]): Promise<void> {
    for (let start = 0; start < grantIds.length; start += liftsAtOnce) {
      const results = await Promise.allSettled(grantIds.slice(start, start + liftsAtOnce).map(deps.lift))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed) throw failed.reason
    }
  }

  return {
    counts: () => counts,
    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        try {
          await look(signal)
          if (failures > 0) logger.info({ failures }, 'breakers move again')
          failures = 0
        } catch (error) {
          const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
          if (failures++ === 0) logger.error({ reason }, 'breakers do not move; trying again')
        }
        await delay(pollMs, undefined, { signal }).catch(() => undefined)
      }
    },
  }
}
