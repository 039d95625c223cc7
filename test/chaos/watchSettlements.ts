import { setTimeout as delay } from 'node:timers/promises'
import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import type { World } from './world.ts'

/** Sees settlements confirm, in Postgres, as soon as they do. */
export type SettlementWatch = {
  /** Confirmed so far, each once. */
  confirmed(): number
  /** Until one more has confirmed. @throws after `timeoutMs` */
  untilConfirmed(timeoutMs: number): Promise<void>
  stop(): Promise<void>
}

const lookEveryMs = 250

export function watchSettlements(world: Pick<World, 'postgres'>): SettlementWatch {
  const login = connectAsLogin(world.postgres.url)
  const stopping = new AbortController()
  const seen = new Set<string>()

  async function look(): Promise<void> {
    while (!stopping.signal.aborted) {
      const rows = await login
        .query<{ id: string; tx_hash: string }>(
          `select id, tx_hash from settlement where state = 'confirmed' order by created_at desc limit 200`,
        )
        // Postgres is restarting: one of the faults.
        .catch(() => [])
      for (const { id, tx_hash } of rows) seen.add(`${id} ${tx_hash}`)
      await delay(lookEveryMs)
    }
  }
  const looking = look()
  return {
    confirmed: () => seen.size,
    async untilConfirmed(timeoutMs) {
      const before = seen.size
      const deadline = performance.now() + timeoutMs
      while (seen.size === before) {
        if (performance.now() > deadline) throw new Error(`No settlement confirmed in ${timeoutMs} ms.`)
        await delay(lookEveryMs / 2)
      }
    },
    async stop() {
      stopping.abort()
      await looking
      await login.close()
    },
  }
}
