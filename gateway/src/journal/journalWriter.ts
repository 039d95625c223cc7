import { setTimeout } from 'node:timers/promises'
import { isDatabaseUnavailable } from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import { Counter, Gauge, type Registry } from 'prom-client'
import { MeterUnavailableError } from '../meter/errors.ts'
import { type MalformedUsage, type Meter, partitionCount } from '../meter/meter.ts'
import type { Journal } from './createJournal.ts'

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
  journal: Journal
  meter: Meter
  clock(): number
  logger: Logger
  /** Events per transaction, at most 1,000. */
  batchSize?: number
  /** Between two passes, unless more waits than fits one batch: what comes meanwhile shares a transaction. */
  idleMs?: number
  metrics?: Registry
  /** Named places where a test ends the process. */
  crashPoint?: ((name: string) => void) | undefined
}

const maxBackOffMs = 5_000
const maxDrainMs = 10_000
/** Partitions worked on at once; each takes one of the pool's connections. */
const partitionsAtOnce = 4

/**
 * Moves usage events from the meter to the journal, exactly once: appended by event id first, acknowledged after. Any
 * number of writers may run; one at a time is at a partition. Events that the journal refuses are put aside there, and
 * acknowledged too.
 *
 * @example createJournalWriter({ journal, meter, clock: Date.now, logger }).run(signal)
 */
export function createJournalWriter(options: JournalWriterOptions): JournalWriter {
  const { journal, meter, clock, logger, batchSize = 500, idleMs = 50, crashPoint = () => {} } = options
  const partitions = Array.from({ length: partitionCount }, (_, index) => index)
  /** Per partition the moment of the oldest event that was read and is not journalled. */
  const oldest = new Map<number, number>()
  const metrics = options.metrics && createMetrics(options.metrics, lagMs)

  function lagMs(): number {
    return oldest.size === 0 ? 0 : Math.max(0, clock() - Math.min(...oldest.values()))
  }

  /**
   * One batch of every partition. Answers how many events left the meter, and the most of one partition; a partition that
   * failed does not stop others.
   */
  async function pass(): Promise<{ moved: number; largest: number }> {
    let moved = 0
    let largest = 0
    const failures: unknown[] = []
    for (let start = 0; start < partitionCount; start += partitionsAtOnce) {
      const results = await Promise.allSettled(partitions.slice(start, start + partitionsAtOnce).map(moveBatch))
      for (const result of results) {
        if (result.status === 'rejected') failures.push(result.reason)
        else {
          moved += result.value
          largest = Math.max(largest, result.value)
        }
      }
    }
    if (failures.length > 0) throw failures[0]
    return { moved, largest }
  }

  async function moveBatch(partition: number): Promise<number> {
    const malformed: MalformedUsage[] = []
    const events = await meter.readUsage(partition, batchSize, (entry) => malformed.push(entry))
    const [first] = events
    if (!first && malformed.length === 0) {
      oldest.delete(partition)
      return 0
    }
    if (first) oldest.set(partition, first.occurredAtMs)
    crashPoint('journal.read')
    const recorded = await journal.take(partition, events, malformed)
    // Another process is at this partition and reads the same.
    if (!recorded) return 0
    crashPoint('journal.appended')
    await meter.acknowledge(
      partition,
      [...events, ...malformed].map(({ eventId }) => eventId),
    )
    crashPoint('journal.acknowledged')
    oldest.delete(partition)
    return events.length + malformed.length
  }

  async function drain(): Promise<number> {
    const deadline = clock() + maxDrainMs
    let total = 0
    for (let batch = await pass(); batch.moved > 0; batch = await pass()) {
      total += batch.moved
      if (clock() > deadline) break
    }
    return total
  }

  async function run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      let waitMs = idleMs
      try {
        const { largest } = await pass()
        if (largest >= batchSize) waitMs = 0
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
    failures: new Counter({
      name: 'gateway_journal_failures_total',
      help: 'Passes in which the meter or Postgres did not answer.',
      registers: [registry],
    }),
  }
}
