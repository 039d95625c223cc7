import { setTimeout as delay } from 'node:timers/promises'
import type { UsageFeedEvent, UsageFeedLine } from '@protocolbanks/stream-protocol'
import { type Meter, partitionCount, type UsageEvent } from '../meter/meter.ts'

export type WatchUsageOptions = {
  meter: Pick<Meter, 'peekUsage'>
  clock(): number
  signal: AbortSignal
  /** How often the meter is asked. 20 by default. */
  pollMs?: number | undefined
  /** After how long without charges an empty line says that the feed goes on. 1,000 by default. */
  heartbeatMs?: number | undefined
  /** Events of one partition at once. */
  batchSize?: number | undefined
}

const partitions = Array.from({ length: partitionCount }, (_, index) => index)

/**
 * Charges as they are made, from those that wait for the journal now on. Nothing is taken and nothing kept: a reader who
 * is too slow misses what was journalled meanwhile, and finds it in the journal.
 *
 * @throws MeterUnavailableError when the meter does not answer
 */
export async function* watchUsage(options: WatchUsageOptions): AsyncGenerator<UsageFeedLine> {
  const { meter, clock, signal, pollMs = 20, heartbeatMs = 1_000, batchSize = 1_000 } = options
  const newest = new Map<number, string>()
  let saidMs = Number.NEGATIVE_INFINITY
  while (!signal.aborted) {
    const atMs = clock()
    const batches = await Promise.all(
      partitions.map((partition) => meter.peekUsage(partition, newest.get(partition), batchSize)),
    )
    const events: UsageFeedEvent[] = []
    for (const [partition, batch] of batches.entries()) {
      const last = batch.at(-1)
      if (last) newest.set(partition, last.eventId)
      for (const event of batch) events.push(toFeedEvent(event))
    }
    if (events.length > 0 || atMs - saidMs >= heartbeatMs) {
      saidMs = atMs
      yield { atMs, events: events.toSorted((a, b) => a.atMs - b.atMs) }
    }
    await delay(pollMs, undefined, { signal }).catch(() => undefined)
  }
}

function toFeedEvent({ amount, occurredAtMs, record, ...event }: UsageEvent): UsageFeedEvent {
  const { eventId, requestId, account, grantId, payee } = event
  return {
    eventId,
    requestId,
    account,
    grantId,
    payee,
    amountAtomic: amount.toString(),
    service: record.service,
    merchant: record.merchant,
    ...(record.client !== undefined && { client: record.client }),
    atMs: occurredAtMs,
  }
}
