import { setTimeout as delay } from 'node:timers/promises'
import type { RuleHold } from '@protocolbanks/stream-db'
import type { Logger } from 'pino'

export type HoldWorkerDeps = {
  /** That are to be placed or lifted now. */
  listDueHolds(limit: number): Promise<RuleHold[]>
  /** Has gateways do what is due; see applyHold.ts. */
  apply(id: string): Promise<'placed' | 'lifted' | 'over'>
  pollMs: number
  logger: Logger
}

export type HoldWorker = {
  run(signal: AbortSignal): Promise<void>
  /** There is something to hold. */
  wake(): void
}

const holdsAtOnce = 200
const atATime = 16

/**
 * Places what rules hold, and lifts it when its time is over, its rule was switched off, or somebody lifted it by hand. All
 * of it is rows, so whichever sentinel is there goes on with it. What fails is tried again at the next look.
 */
export function createHoldWorker(deps: HoldWorkerDeps): HoldWorker {
  const { logger, pollMs } = deps
  let waking = new AbortController()
  let failures = 0

  async function look(): Promise<void> {
    const due = await deps.listDueHolds(holdsAtOnce)
    let failed: PromiseRejectedResult | undefined
    for (let start = 0; start < due.length; start += atATime) {
      const results = await Promise.allSettled(
        due.slice(start, start + atATime).map(async ({ id, grantId, ruleId }) => {
          const is = await deps.apply(id)
          logger.warn({ hold: id, grantId, rule: ruleId }, `a hold of a rule was ${is}`)
        }),
      )
      failed ??= results.find((result) => result.status === 'rejected')
    }
    if (failed) throw failed.reason
  }

  return {
    wake: () => waking.abort(),
    async run(signal) {
      while (!signal.aborted) {
        waking = new AbortController()
        try {
          await look()
          if (failures > 0) logger.info({ failures }, 'holds of rules go on')
          failures = 0
        } catch (error) {
          if (failures++ === 0) logger.error({ err: error }, 'a hold of a rule is not done yet; trying again')
        }
        const until = AbortSignal.any([signal, waking.signal])
        await delay(pollMs, undefined, { signal: until }).catch(() => undefined)
      }
    },
  }
}
