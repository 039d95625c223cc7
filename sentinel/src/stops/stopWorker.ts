import { setTimeout as delay } from 'node:timers/promises'
import type { OpenStop } from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import type { RefuseGrant } from './refuseGrant.ts'

export type StopWorkerDeps = {
  listOpenStops(limit: number): Promise<OpenStop[]>
  refuse: RefuseGrant
  markRefused(id: string): Promise<unknown>
  /** Undefined: there is no guardian's key, and only gateways are told. */
  drive: ((stops: readonly OpenStop[]) => Promise<void>) | undefined
  pollMs: number
  logger: Logger
}

export type StopWorker = {
  run(signal: AbortSignal): Promise<void>
  /** There is something to stop. */
  wake(): void
}

const stopsAtOnce = 500
const refusalsAtOnce = 16

/** Brings stops to the gateways first, and to the chain. What fails is tried again at the next look. */
export function createStopWorker(deps: StopWorkerDeps): StopWorker {
  const { logger, pollMs } = deps
  let waking = new AbortController()
  let failures = 0

  async function refuseAll(stops: readonly OpenStop[]): Promise<void> {
    const waiting = stops.filter(({ refusedAt }) => refusedAt === null)
    for (let start = 0; start < waiting.length; start += refusalsAtOnce) {
      const results = await Promise.allSettled(
        waiting.slice(start, start + refusalsAtOnce).map(async (stop) => {
          await deps.refuse({ ...stop, reason: `sentinel: ${stop.rule}` })
          await deps.markRefused(stop.id)
          logger.warn({ stop: stop.id, grantId: stop.grantId, rule: stop.rule }, 'refused by every gateway')
        }),
      )
      const failed = results.find((result) => result.status === 'rejected')
      if (failed) throw failed.reason
    }
  }

  async function look(): Promise<void> {
    const stops = await deps.listOpenStops(stopsAtOnce)
    if (stops.length === 0) return
    // The chain does not wait for a gateway that is gone, nor a gateway for the chain.
    const results = await Promise.allSettled([refuseAll(stops), deps.drive?.(stops)])
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  return {
    wake: () => waking.abort(),
    async run(signal) {
      while (!signal.aborted) {
        waking = new AbortController()
        try {
          await look()
          if (failures > 0) logger.info({ failures }, 'stops go on')
          failures = 0
        } catch (error) {
          if (failures++ === 0) logger.error({ reason: firstLine(error) }, 'a stop is not done yet; trying again')
        }
        const until = AbortSignal.any([signal, waking.signal])
        await delay(pollMs, undefined, { signal: until }).catch(() => undefined)
      }
    },
  }
}

/** Whole messages of viem name addresses, which carry keys. */
function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 300) : String(error)
}
