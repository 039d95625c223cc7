import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'

export type RefuseAtOnceOptions = {
  /** The first that answers does it for all. */
  gatewayUrls: readonly string[]
  apiKey: string
  timeoutMs: number
  clock(): number
  logger: Logger
  fetch?: typeof fetch | undefined
}

/** Asked again for the same grant within this time, it has been done. */
const quietMs = 3_000
const grantsRemembered = 10_000
const grantsAtOnce = 100

/**
 * Has the gateways refuse grants before anything is recorded: the record takes longer, and money goes meanwhile. What fails
 * here is only slower, because every stop goes the whole way besides; what is never recorded, gateways lift again.
 */
export function createRefuseAtOnce(options: RefuseAtOnceOptions): {
  refuse(grants: readonly { account: Address; grantId: Hex }[]): Promise<void>
} {
  const { gatewayUrls, apiKey, timeoutMs, clock, logger, fetch: ask = fetch } = options
  const done = new LRUCache<Hex, number>({ max: grantsRemembered })

  async function send(grants: readonly { account: Address; grantId: Hex }[]): Promise<void> {
    for (const gateway of gatewayUrls) {
      try {
        const response = await ask(new URL('/api/usage/refusals', gateway), {
          method: 'POST',
          headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
          body: JSON.stringify({ grants }),
          signal: AbortSignal.timeout(timeoutMs),
        })
        await response.body?.cancel()
        if (response.ok) return
      } catch {
        // The next gateway, or the whole way.
      }
    }
    logger.warn({ grants: grants.length }, 'no gateway refused at once; the recorded stop follows')
  }

  return {
    async refuse(grants) {
      const nowMs = clock()
      const fresh = new Map(
        grants
          .filter(({ grantId }) => nowMs - (done.get(grantId) ?? Number.NEGATIVE_INFINITY) >= quietMs)
          .map(({ account, grantId }) => [grantId, { account, grantId }]),
      )
      if (fresh.size === 0) return
      for (const grantId of fresh.keys()) done.set(grantId, nowMs)
      const all = [...fresh.values()]
      for (let start = 0; start < all.length; start += grantsAtOnce) await send(all.slice(start, start + grantsAtOnce))
    },
  }
}
