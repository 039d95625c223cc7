import { setTimeout as delay } from 'node:timers/promises'
import type { OpenStop } from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { isDueOnChain } from './isDueOnChain.ts'
import type { RefuseGrant } from './refuseGrant.ts'

export type StopWorkerDeps = {
  /** Those of the gateways, or of the chain, oldest first. */
  listOpenStops(limit: number, where: 'gateways' | 'chain'): Promise<OpenStop[]>
  refuse: RefuseGrant
  markRefused(id: string): Promise<unknown>
  /** What a grant owes is to be settled before it is stopped on the chain. */
  settleFirst(grantId: Hex): Promise<unknown>
  /**
   * `work` for what waits for the chain, by one sentinel at a time; undefined when another is at it. What `work` returns
   * is when something has to be looked at before the next round.
   */
  alone(work: () => Promise<number | undefined>): Promise<number | undefined>
  /** Undefined: there is no guardian's key, and only gateways are told. */
  drive: ((stops: readonly OpenStop[]) => Promise<number | undefined>) | undefined
  /** No guardian's key will ever stop it. */
  markImpossible(id: string): Promise<unknown>
  clock(): number
  pollMs: number
  logger: Logger
}

export type StopWorker = {
  run(signal: AbortSignal): Promise<void>
  /** There is something to stop. */
  wake(): void
  /** Stops that the chain did not have at the last look. */
  waiting(): number
}

const refusalsInOneLook = 500
const stopsOnChainInOneLook = 2_000
const refusalsAtOnce = 16

/**
 * Brings stops to the gateways, and to the chain, each by itself: neither waits for the other. What fails is tried again at
 * the next look.
 */
export function createStopWorker(deps: StopWorkerDeps): StopWorker {
  const { logger, pollMs, clock } = deps
  const wakers = new Set<AbortController>()
  let waiting = 0

  async function refuseAll(): Promise<undefined> {
    const stops = await deps.listOpenStops(refusalsInOneLook, 'gateways')
    for (let start = 0; start < stops.length; start += refusalsAtOnce) {
      const results = await Promise.allSettled(stops.slice(start, start + refusalsAtOnce).map(refuse))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed) throw failed.reason
    }
  }

  async function refuse(stop: OpenStop): Promise<void> {
    const { id, grantId, rule, settleUntil } = stop
    // What is removed is not settled any more. The chain's own revocation removes it.
    const kind = settleUntil === null ? stop.kind : 'freeze'
    await deps.refuse({ ...stop, kind, reason: `sentinel: ${rule}` })
    await deps.markRefused(id)
    logger.warn({ stop: id, grantId, rule }, 'refused by every gateway')
  }

  /** Read when no other sentinel is at it, so that nothing is sent twice. */
  async function stopOnChain(): Promise<number | undefined> {
    const stops = await deps.listOpenStops(stopsOnChainInOneLook, 'chain')
    waiting = stops.length
    const { drive } = deps
    if (!drive) {
      for (const { id } of stops) await deps.markImpossible(id)
      return undefined
    }
    const isDue = (stop: OpenStop) => stop.chainState === 'sent' || isDueOnChain(stop, clock())
    for (const stop of stops) if (!isDue(stop) && stop.owes) await deps.settleFirst(stop.grantId)
    return drive(stops.filter(isDue))
  }

  async function follow(signal: AbortSignal, what: string, look: () => Promise<number | undefined>): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      const waker = new AbortController()
      wakers.add(waker)
      let waitMs = pollMs
      try {
        waitMs = Math.min(pollMs, (await look()) ?? pollMs)
        if (failures > 0) logger.info({ failures, what }, 'stops go on')
        failures = 0
      } catch (error) {
        if (failures++ === 0) logger.error({ what, reason: firstLine(error) }, 'a stop is not done yet; trying again')
      }
      const until = AbortSignal.any([signal, waker.signal])
      await delay(waitMs, undefined, { signal: until }).catch(() => undefined)
      wakers.delete(waker)
    }
  }

  return {
    waiting: () => waiting,
    wake() {
      for (const waker of wakers) waker.abort()
    },
    async run(signal) {
      await Promise.all([follow(signal, 'gateways', refuseAll), follow(signal, 'chain', () => deps.alone(stopOnChain))])
    },
  }
}

/** Whole messages of viem name addresses, which carry keys. */
function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 300) : String(error)
}
