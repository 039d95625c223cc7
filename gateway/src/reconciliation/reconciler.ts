import { setTimeout as delay } from 'node:timers/promises'
import {
  claimReconciliation,
  type DifferenceKind,
  errorCodeOf,
  failReconciliation,
  finishReconciliation,
  isDatabaseUnavailable,
  keptBlocks,
  listDifferences,
  newestReconciliation,
  type Reconciliation,
  renewReconciliation,
} from '@protocolbanks/stream-db'
import { BaseError } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { Counter, Gauge, type Registry } from 'prom-client'
import { BaseError as ViemError } from 'viem'
import { MeterUnavailableError } from '../meter/errors.ts'
import { type ReconcileDeps, reconcile } from './reconcile.ts'

export type Reconciler = {
  /** Takes up what is due until the signal, whatever fails. */
  run(signal: AbortSignal): Promise<void>
}

export type ReconcilerOptions = ReconcileDeps & {
  /** Of this process, for the lease. */
  owner: string
  /** Between two scheduled ones. */
  intervalMs: number
  logger: Logger
  metrics?: Registry
}

const leaseMs = 60_000
const renewMs = 10_000
const pollMs = 1_000
const maxBackOffMs = 30_000

/**
 * Reconciles on a schedule and when it is asked to. Every gateway runs one; a lease in Postgres lets one of them work at a
 * time. What it finds is written down, alerted and counted, and never corrected.
 */
export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { db, clock, owner, intervalMs, logger } = options
  const metrics = options.metrics && createMetrics(options.metrics)
  let shown: string | undefined

  async function tick(signal: AbortSignal): Promise<void> {
    const work = await claimReconciliation(db, { owner, leaseMs, intervalMs, now: new Date(clock()) })
    if (work) await perform(work, signal)
    await show()
  }

  async function perform(work: Reconciliation, signal: AbortSignal): Promise<void> {
    const { id, grantId, trigger } = work
    const startedAt = clock()
    let renewedAt = startedAt
    try {
      const { blockNumber, totals, differences } = await reconcile(options, {
        grantId: grantId ?? undefined,
        paymentsAbove: await paymentsAbove(work),
        signal,
        async keepAlive() {
          if (clock() - renewedAt < renewMs) return
          renewedAt = clock()
          const until = new Date(renewedAt + leaseMs)
          if (!(await renewReconciliation(db, { id, owner, until }))) throw new LeaseGoneError(id)
        },
      })
      const now = new Date(clock())
      if (!(await finishReconciliation(db, { id, owner, blockNumber, totals, differences, now }))) {
        throw new LeaseGoneError(id)
      }
      const told = {
        reconciliation: id,
        grantId,
        trigger,
        block: `${blockNumber}`,
        ...totals,
        tookMs: clock() - startedAt,
      }
      if (differences.length === 0) logger.info(told, 'the books agree')
      else logger.error({ ...told, differences: differences.length }, 'the books differ; see docs/operations.md')
    } catch (error) {
      await failed(work, error, signal)
    }
  }

  /** Those that a clean comparison has seen need no second look, but for what a reorganisation can change. */
  async function paymentsAbove({ trigger }: Reconciliation): Promise<bigint> {
    const before = trigger === 'schedule' ? await newestReconciliation(db, { clean: true }) : undefined
    return before?.blockNumber === undefined || before.blockNumber === null ? -1n : before.blockNumber - keptBlocks
  }

  async function failed({ id }: Reconciliation, error: unknown, signal: AbortSignal): Promise<void> {
    // This process stops, Postgres is gone, or the lease is: another one takes it up when the lease ends.
    if (signal.aborted || error instanceof LeaseGoneError || isPostgresGone(error)) throw error
    metrics?.failures.inc()
    const { errorCode, errorMessage } = explain(error)
    logger.error({ err: error, reconciliation: id, errorCode }, 'the books could not be compared')
    await failReconciliation(db, { id, owner, errorCode, errorMessage, now: new Date(clock()) })
  }

  /** The newest of all grants, whichever process made it. */
  async function show(): Promise<void> {
    if (!metrics) return
    const newest = await newestReconciliation(db)
    if (!newest || newest.id === shown) return
    const byKind = new Map<DifferenceKind, number>()
    if (newest.differences) {
      for (const { kind } of await listDifferences(db, newest.id)) byKind.set(kind, (byKind.get(kind) ?? 0) + 1)
    }
    metrics.differences.reset()
    for (const kind of kinds) metrics.differences.set({ kind }, byKind.get(kind) ?? 0)
    metrics.finishedAt.set((newest.finishedAt?.getTime() ?? 0) / 1_000)
    metrics.owed.set(Number(newest.totals?.owedAtomic ?? 0))
    metrics.writtenOff.set(Number(newest.totals?.writtenOffAtomic ?? 0))
    shown = newest.id
  }

  return {
    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        let waitMs = pollMs
        try {
          await tick(signal)
          failures = 0
        } catch (err) {
          if (signal.aborted) return
          failures++
          waitMs = Math.min(maxBackOffMs, pollMs * 2 ** Math.min(failures, 10))
          if (failures === 1) logger.warn({ err, waitMs }, 'reconciliation waits')
        }
        await delay(waitMs, undefined, { signal }).catch(() => undefined)
      }
    },
  }
}

const kinds: readonly DifferenceKind[] = [
  'voucher_below_charged',
  'voucher_unsigned',
  'journal',
  'meter',
  'settled',
  'events',
  'transfer',
  'payment',
]

/** Whole messages of viem name addresses, which carry keys. */
function explain(error: unknown): { errorCode: string; errorMessage: string } {
  if (error instanceof ViemError) return { errorCode: 'chain.unavailable', errorMessage: error.shortMessage }
  if (error instanceof BaseError) return { errorCode: error.code, errorMessage: error.message }
  return { errorCode: 'internal', errorMessage: error instanceof Error ? error.message : String(error) }
}

function isPostgresGone(error: unknown): boolean {
  const isOthers = error instanceof BaseError || error instanceof ViemError || error instanceof MeterUnavailableError
  // 57014: a statement took too long, and would again.
  return !isOthers && errorCodeOf(error) !== '57014' && isDatabaseUnavailable(error)
}

class LeaseGoneError extends Error {
  constructor(id: string) {
    super(`Another process took the reconciliation ${id} over.`)
  }
}

function createMetrics(registry: Registry) {
  const registers = [registry]
  return {
    differences: new Gauge({
      name: 'gateway_reconciliation_differences',
      help: 'Differences that the newest reconciliation of all grants found, by kind.',
      labelNames: ['kind'],
      registers,
    }),
    finishedAt: new Gauge({
      name: 'gateway_reconciliation_finished_timestamp_seconds',
      help: 'When the newest reconciliation of all grants was done.',
      registers,
    }),
    owed: new Gauge({
      name: 'gateway_reconciliation_owed_atomic',
      help: 'What was charged and not settled then, what was written off included; base units.',
      registers,
    }),
    writtenOff: new Gauge({
      name: 'gateway_reconciliation_written_off_atomic',
      help: 'What operators gave up of it, base units.',
      registers,
    }),
    failures: new Counter({
      name: 'gateway_reconciliation_failures_total',
      help: 'Reconciliations that this process could not finish.',
      registers,
    }),
  }
}
