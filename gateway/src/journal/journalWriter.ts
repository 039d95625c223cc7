import { setTimeout } from 'node:timers/promises'
import { appendCharges, type ChargeEvent, type Db, errorCodeOf, isDatabaseUnavailable } from '@protocolbanks/stream-db'
import { parseTraceparent } from '@protocolbanks/stream-runtime'
import type { Logger } from 'pino'
import { Counter, Gauge, type Registry } from 'prom-client'
import { MeterUnavailableError } from '../meter/errors.ts'
import { type Meter, partitionCount, type UsageEvent } from '../meter/meter.ts'

export type JournalWriter = {
  /** Moves usage until the signal, then drains. Outages are waited out. */
  run(signal: AbortSignal): Promise<void>
  /**
   * Moves everything that can be moved now, and says how much that was.
   *
   * @throws when Postgres or the meter does not answer; nothing is lost then
   */
  drain(): Promise<number>
}

export type JournalWriterOptions = {
  db: Db
  meter: Meter
  clock(): number
  logger: Logger
  /** Events per transaction, at most 1,000. */
  batchSize?: number
  /** How long to wait when there was nothing. */
  idleMs?: number
  metrics?: Registry
}

const maxBackOffMs = 5_000
const maxDrainMs = 10_000
/** Partitions worked on at once; each takes one of the pool's connections. */
const partitionsAtOnce = 4

/**
 * Moves usage events from the meter to the journal, exactly once: appended by event id first, acknowledged after. Any
 * number of writers may run; what two of them read is appended once.
 *
 * @example createJournalWriter({ db, meter, clock: Date.now, logger }).run(signal)
 */
export function createJournalWriter(options: JournalWriterOptions): JournalWriter {
  const { db, meter, clock, logger, batchSize = 500, idleMs = 50 } = options
  const partitions = Array.from({ length: partitionCount }, (_, index) => index)
  /** Per partition the moment of the oldest event that was read and is not journalled. */
  const oldest = new Map<number, number>()
  const metrics = options.metrics && createMetrics(options.metrics, lagMs)

  function lagMs(): number {
    return oldest.size === 0 ? 0 : Math.max(0, clock() - Math.min(...oldest.values()))
  }

  /** One batch of every partition. Answers how many events left the meter; a partition that failed does not stop others. */
  async function pass(): Promise<number> {
    let moved = 0
    const failures: unknown[] = []
    for (let start = 0; start < partitionCount; start += partitionsAtOnce) {
      const results = await Promise.allSettled(partitions.slice(start, start + partitionsAtOnce).map(moveBatch))
      for (const result of results) {
        if (result.status === 'fulfilled') moved += result.value
        else failures.push(result.reason)
      }
    }
    if (failures.length > 0) throw failures[0]
    return moved
  }

  async function moveBatch(partition: number): Promise<number> {
    const events = await meter.readUsage(partition, batchSize)
    const [first] = events
    if (!first) {
      oldest.delete(partition)
      return 0
    }
    oldest.set(partition, first.occurredAtMs)
    const appended = await append(events)
    await meter.acknowledge(
      partition,
      appended.map(({ eventId }) => eventId),
    )
    if (appended.length === events.length) oldest.delete(partition)
    return appended.length
  }

  /** The events that are in the journal now. One that Postgres refuses for what it is stays behind, alone. */
  async function append(events: UsageEvent[]): Promise<UsageEvent[]> {
    try {
      const appended = await appendCharges(db, events.map(toCharge))
      metrics?.charges.inc(appended)
      return events
    } catch (error) {
      // Classes 22 and 23: the data. Anything else is not the fault of one event.
      if (!/^2[23]/.test(errorCodeOf(error) ?? '')) throw error
      const [event] = events
      if (events.length === 1 && event) {
        metrics?.refused.inc()
        logger.error({ err: error, event: event.eventId, grantId: event.grantId }, 'the journal refused a charge')
        return []
      }
      const middle = Math.ceil(events.length / 2)
      return [...(await append(events.slice(0, middle))), ...(await append(events.slice(middle)))]
    }
  }

  async function drain(): Promise<number> {
    const deadline = clock() + maxDrainMs
    let total = 0
    for (let moved = await pass(); moved > 0; moved = await pass()) {
      total += moved
      if (clock() > deadline) break
    }
    return total
  }

  async function run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      let waitMs = idleMs
      try {
        if ((await pass()) > 0) waitMs = 0
        if (failures > 0) logger.info({ failures }, 'the journal is written again')
        failures = 0
      } catch (error) {
        failures++
        metrics?.failures.inc()
        waitMs = Math.min(maxBackOffMs, idleMs * 2 ** Math.min(failures, 10))
        const expected = isDatabaseUnavailable(error) || error instanceof MeterUnavailableError
        if (failures === 1 || !expected) logger.warn({ err: error, lagMs: lagMs() }, 'the journal cannot be written')
      }
      // Aborted: drain at once.
      if (waitMs > 0) await setTimeout(waitMs, undefined, { signal }).catch(() => {})
    }
    try {
      await drain()
    } catch (error) {
      logger.warn({ err: error, lagMs: lagMs(), kind: meter.kind }, 'usage is left in the meter')
    }
  }

  return { run, drain }
}

function toCharge({ record, ...event }: UsageEvent): ChargeEvent {
  return {
    ...event,
    merchantId: record.merchant,
    serviceId: record.service,
    signature: record.signature,
    traceId: parseTraceparent(record.trace)?.traceId,
  }
}

function createMetrics(registry: Registry, lagMs: () => number) {
  new Gauge({
    name: 'gateway_journal_lag_seconds',
    help: 'Age of the oldest charge that was read from the meter and is not in the journal.',
    registers: [registry],
    collect() {
      this.set(lagMs() / 1000)
    },
  })
  return {
    charges: new Counter({
      name: 'gateway_journal_charges_total',
      help: 'Charges that this process appended to the journal.',
      registers: [registry],
    }),
    failures: new Counter({
      name: 'gateway_journal_failures_total',
      help: 'Passes in which the meter or Postgres did not answer.',
      registers: [registry],
    }),
    refused: new Counter({
      name: 'gateway_journal_refused_total',
      help: 'Times the journal refused a charge that it can never take. It stays in the meter; somebody must look.',
      registers: [registry],
    }),
  }
}
