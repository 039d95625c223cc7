import { setTimeout as delay } from 'node:timers/promises'
import type { FaultDetails } from '../fault.ts'
import { listUsageStreams } from '../parts/redisServer.ts'
import type { Traffic } from '../startTraffic.ts'
import type { World } from '../world.ts'

type Duplicated = Extract<FaultDetails, { kind: 'duplicated-usage' }>
type Entry = [id: string, fields: string[]]

const lookEveryMs = 20
const maxLooks = 500

/**
 * Puts copies of usage events into the stream again, under new ids, newest first. Only of calls that were served: what is
 * taken back afterwards would be a charge that nobody made, which is forgery and tested beside the journal.
 */
export async function duplicateUsage(
  { redis }: Pick<World, 'redis'>,
  { copies }: Duplicated,
  { calls }: Pick<Traffic, 'calls'>,
): Promise<void> {
  let left = copies
  for (let look = 0; left > 0; look++) {
    if (look === maxLooks) throw new Error(`${copies - left} of ${copies} usage events were seen in ${maxLooks} looks.`)
    const streams = await listUsageStreams(redis)
    const stream = streams[look % Math.max(1, streams.length)] ?? ''
    const waiting = (await redis.command('XREVRANGE', stream, '+', '-', 'COUNT', `${left}`)) as Entry[]
    if (waiting.length === 0) {
      await delay(lookEveryMs)
      continue
    }
    const served = await servedOf(waiting, calls)
    for (const [, fields] of served) await redis.command('XADD', stream, '*', ...fields)
    left -= served.length
  }
}

/** Of those the ones whose call has its answer, a moment later. */
async function servedOf(entries: readonly Entry[], calls: Traffic['calls']): Promise<Entry[]> {
  await delay(lookEveryMs * 2)
  const served = new Set(calls.flatMap(({ outcome, requestId }) => (outcome === 'served' ? [requestId] : [])))
  return entries.filter(([, fields]) => served.has(requestIdOf(fields)))
}

function requestIdOf(fields: readonly string[]): string {
  const use = fields[fields.indexOf('use') + 1] ?? '{}'
  return (JSON.parse(use) as { requestId?: string }).requestId ?? ''
}
