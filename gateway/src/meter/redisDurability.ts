import { setTimeout as delay } from 'node:timers/promises'
import type { MeterGeneration } from '@protocolbanks/stream-db'
import { Cluster, type Redis } from 'ioredis'
import type { Logger } from 'pino'
import { Counter, Gauge, type Registry } from 'prom-client'
import { MeterUnavailableError } from './errors.ts'
import { createGenerations, type Generations, type StoreLook } from './generations.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { type MalformedUsage, partitionCount, type UsageEvent } from './meter.ts'
import type { MeterRecords } from './meterRecords.ts'
import { parseUsageEntry } from './parseUsageEntry.ts'
import { reconcileLedger } from './reconcileLedger.ts'
import type { RedisScripts } from './redisScripts.ts'

/** With it the meter survives the loss of its Redis; without, what had not reached the journal is gone with it. */
export type DurabilityOptions = {
  records: MeterRecords
  logger: Logger
  /** Milliseconds that never go back, e.g. `performance.now`. */
  monotonicClock(): number
  /** Charges of this process that may wait for the journal. 100,000 by default. */
  maxLedgerEvents?: number | undefined
  metrics?: Registry | undefined
  /** Named places where a test ends the process. */
  crashPoint?: ((name: string) => void) | undefined
}

type Deps = DurabilityOptions & {
  redis: Redis | Cluster
  scripts: RedisScripts
  instance: string
  prefix: string
  maxStreamLength: number
  look(partition: number): Promise<StoreLook>
  adopt(partition: number, generation: number): void
  inStream(partition: number, events: readonly UsageEvent[]): Promise<Set<string>>
}

export type RedisDurability = {
  ledger: Ledger
  generations: Generations
  run(signal: AbortSignal): Promise<void>
  /** At the end: what is only in this process' memory goes to the journal, then nobody waits for it any more. */
  leave(): Promise<void>
}

const reconcileEveryMs = 1_000
const entriesPerRead = 500
const tellEveryMs = 1_000
const keysPerScan = 1_000

export function createRedisDurability(deps: Deps): RedisDurability {
  const { redis, scripts, records, prefix, instance, logger, crashPoint = () => {} } = deps
  const ledger = createLedger(deps.maxLedgerEvents ?? 100_000)
  const marksOf = (partition: number) => `${prefix}{p${partition}}:marks`
  let sweepAsked = false
  let toldAtMs = Number.NEGATIVE_INFINITY

  const generations = createGenerations({
    partitions: partitionCount,
    beat: records.beat,
    close: async (partition, generation, reason) => {
      // All partitions of a store are lost at once: one line tells it.
      const told = deps.monotonicClock() - toldAtMs < tellEveryMs
      logger[told ? 'debug' : 'error']({ partition, generation, reason }, 'the meter is rebuilt from the journal')
      if (!told) toldAtMs = deps.monotonicClock()
      metrics?.closed.inc()
      await records.close(partition, generation, reason)
    },
    open: records.open,
    isReachable: () => redis.status === 'ready',
    look: deps.look,
    flush,
    begin,
    adopt(partition, generation) {
      deps.adopt(partition, generation)
      sweepAsked = true
    },
    logger,
  })
  const metrics = deps.metrics && createMetrics(deps.metrics, { ledger, generations })

  /** Charges of generations before this one. */
  async function flush(partition: number, generation: number): Promise<number> {
    const entries = ledger.before(partition, generation)
    if (entries.length === 0) return 0
    const appended = await records.append(
      partition,
      entries.map(({ event }) => event),
    )
    crashPoint('recovery.flushed')
    ledger.forget(entries.map(({ event }) => event.eventId))
    metrics?.recovered.inc(appended)
    logger.warn({ partition, charges: entries.length, recovered: appended }, 'charges were journalled from memory')
    return appended
  }

  /**
   * Charges that processes which are gone left in a store that kept its data: they stand, as ever when a process dies. Those
   * of living ones are theirs to journal. What the journal had passed was journalled or released.
   */
  async function begin({ partition, generation, journalledAt }: MeterGeneration): Promise<string> {
    const marks = marksOf(partition)
    const known = await redis.hget(marks, 'generation')
    if (known !== String(generation)) {
      const tag = known === null ? '' : `g${known}:`
      const stream = `${prefix}{p${partition}}:${tag}usage`
      const idOf = (id: string) => (known === null ? `p${partition}-${id}` : `p${partition}.${known}-${id}`)
      for (let from = '-', read = 0; read < 2 * deps.maxStreamLength; read += entriesPerRead) {
        const entries = await redis.xrange(stream, from, '+', 'COUNT', entriesPerRead)
        const last = entries.at(-1)
        if (!last) break
        await salvage(partition, entries, idOf, journalledAt?.getTime() ?? 0)
        from = `(${last[0]}`
      }
      await redis.unlink(stream)
    }
    const [began, run] = (await scripts.begin([marks], [generation])) as [number, string]
    if (began !== 1) {
      throw new MeterUnavailableError('The store is in a newer generation.', {
        metaMessages: [`Partition ${partition}: ${run}, not ${generation}`],
      })
    }
    return run
  }

  async function salvage(
    partition: number,
    entries: readonly [string, string[]][],
    idOf: (id: string) => string,
    journalledMs: number,
  ): Promise<void> {
    const events: { event: UsageEvent; by: string }[] = []
    const malformed: MalformedUsage[] = []
    for (const [id, list] of entries) {
      const fields = new Map<string, string>()
      for (let index = 0; index + 1 < list.length; index += 2) fields.set(list[index] ?? '', list[index + 1] ?? '')
      const at = { eventId: idOf(id), partition, occurredAtMs: Number(id.slice(0, id.indexOf('-'))) }
      const parsed = parseUsageEntry(at, fields)
      if (parsed.ok) events.push(parsed)
      else malformed.push(parsed.malformed)
    }
    const living = await records.living([...new Set(events.map(({ by }) => by))])
    const left = events.filter(
      ({ event, by }) => by !== instance && !living.has(by) && event.occurredAtMs > journalledMs,
    )
    if (left.length === 0 && malformed.length === 0) return
    const appended = await records.append(
      partition,
      left.map(({ event }) => event),
      malformed,
    )
    metrics?.recovered.inc(appended)
    logger.warn(
      { partition, charges: left.length, recovered: appended },
      'charges of processes that are gone were journalled',
    )
  }

  /** Removes what generations before left in a store that kept it. */
  async function sweep(signal: AbortSignal): Promise<void> {
    const nodes = redis instanceof Cluster ? redis.nodes('master') : [redis]
    for (const node of nodes) {
      let cursor = '0'
      do {
        const [next, keys] = await node.scan(cursor, 'MATCH', `${prefix}{p*}:*`, 'COUNT', keysPerScan)
        // One slot at a time, so that it is right for a cluster too.
        await Promise.all(keys.filter(isStale).map((key) => redis.unlink(key)))
        cursor = next
      } while (cursor !== '0' && !signal.aborted)
    }
  }

  function isStale(key: string): boolean {
    const [, partition = '', generation] = /^\{p(\d+)\}:(?:g(\d+):)?/.exec(key.slice(prefix.length)) ?? []
    const current = generations.current(Number(partition))
    if (current === undefined || key === marksOf(Number(partition))) return false
    return generation === undefined || Number(generation) < current
  }

  return {
    ledger,
    generations,
    async run(signal) {
      const following = generations.run(signal)
      while (!signal.aborted) {
        await delay(reconcileEveryMs, undefined, { signal }).catch(() => {})
        if (signal.aborted) break
        try {
          await reconcile()
          if (sweepAsked && generations.closedCount === 0) {
            sweepAsked = false
            await sweep(signal)
          }
        } catch (err) {
          logger.debug({ err }, 'the ledger could not be compared with the journal')
        }
      }
      await following
    },
    async leave() {
      try {
        for (let partition = 0; partition < partitionCount; partition += 1) {
          await flush(partition, Number.POSITIVE_INFINITY)
        }
        await records.leave()
      } catch (err) {
        logger.warn({ err, charges: ledger.size }, 'charges are left in the meter alone')
      }
    },
  }

  async function reconcile(): Promise<void> {
    await reconcileLedger({
      ledger,
      records,
      current: generations.current,
      inStream: deps.inStream,
      nowMs: deps.monotonicClock(),
      logger,
      onRecovered: (count) => metrics?.recovered.inc(count),
    })
  }
}

function createMetrics(registry: Registry, { ledger, generations }: { ledger: Ledger; generations: Generations }) {
  new Gauge({
    name: 'gateway_ledger_charges',
    help: 'Charges of this process that Postgres is not known to have yet.',
    registers: [registry],
    collect() {
      this.set(ledger.size)
    },
  })
  new Gauge({
    name: 'gateway_meter_closed_partitions',
    help: 'Partitions of the meter in which this process charges nothing, because they are being looked at or rebuilt.',
    registers: [registry],
    collect() {
      this.set(generations.closedCount)
    },
  })
  return {
    closed: new Counter({
      name: 'gateway_meter_losses_total',
      help: 'Times this process found that a partition of the meter had lost its state.',
      registers: [registry],
    }),
    recovered: new Counter({
      name: 'gateway_journal_recovered_total',
      help: 'Charges that reached the journal from the memory of processes or from an old store, not by the stream.',
      registers: [registry],
    }),
  }
}
