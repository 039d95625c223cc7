import { setTimeout as delay } from 'node:timers/promises'
import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import { listUsageStreams } from './parts/redisServer.ts'
import type { World } from './world.ts'

const lookEveryMs = 500

/**
 * Settlements whose end somebody has to wait or to care for. One that a reorganisation took back, and whose money a newer
 * one of its grant claims, is closed by the indexer itself.
 */
export const unfinishedSql = `state <> 'confirmed' and not (failure_reason = 'reorganised' and written_off_at is not null)`

/** Usage events that wait for the journal. */
export async function countUsage({ redis }: Pick<World, 'redis'>): Promise<number> {
  const streams = await listUsageStreams(redis)
  const lengths = await Promise.all(streams.map((stream) => redis.command('XLEN', stream)))
  return lengths.reduce<number>((sum, length) => sum + Number(length), 0)
}

/**
 * Until nothing is owed, in flight or waiting; by the services' own triggers. False when that takes longer than `timeoutMs`:
 * what the books say then is for the verdict.
 */
export async function untilSettled(world: World, timeoutMs: number): Promise<boolean> {
  const login = connectAsLogin(world.postgres.url)
  const deadline = performance.now() + timeoutMs
  try {
    while (performance.now() < deadline) {
      const [row] = await login.query<{ owing: string; open: string }>(
        `select (select count(*) from channel where charged <> settled) as owing,
           (select count(*) from settlement where ${unfinishedSql}) as open`,
      )
      if (row?.owing === '0' && row.open === '0' && (await countUsage(world)) === 0) return true
      await delay(lookEveryMs)
    }
    return false
  } finally {
    await login.close()
  }
}
