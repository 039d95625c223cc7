import { setTimeout as delay } from 'node:timers/promises'
import {
  type AlertKind,
  countWaitingAlerts,
  isDatabaseUnavailable,
  type LeasedAlert,
  leaseAlerts,
  pruneAlerts,
  queueAlertRepeats,
  recordAlertAttempt,
} from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import type { AlertMetrics } from './alertMetrics.ts'
import type { AlertText } from './alertText.ts'
import { judgeSending, type Sending } from './judgeSending.ts'
import { type WriteMessageDeps, writeMessage } from './writeMessage.ts'

/** Sends one message to a target, and never throws for what the other side does. */
export type SendAlert = (of: LeasedAlert & { target: string; text: AlertText }) => Promise<Sending>

export type AlertWorkerDeps = WriteMessageDeps & {
  /** What this process can send. Others may send the rest. */
  senders: Partial<Record<AlertKind, SendAlert>>
  repeatEveryMs: number
  maxRepeats: number
  /** Longer than a try can take. */
  leaseMs: number
  /** From 0 to 1. */
  random(): number
  /** Another one each time. */
  createLeaseId(): string
  metrics: AlertMetrics
  logger: Logger
  /** How long to wait when there was nothing. */
  idleMs: number
}

export type AlertWorker = {
  /** Sends until the signal, then waits a little for the tries that are on their way. */
  run(signal: AbortSignal): Promise<void>
  /** What the last try of each kind said; undefined: it was sent, or none was tried yet. */
  problemOf(kind: AlertKind): string | undefined
}

/** At once, of this process. */
const maxInFlight = 8
const countEveryMs = 5_000
const pruneEveryMs = 600_000
const pruneLimit = 1_000
const maxBackOffMs = 10_000
/** At the end. What was not over by then is sent again by another. */
const drainMs = 5_000

/**
 * Sends what the database says is to be sent. It stands beside what stops grants and is never waited for. Any number may
 * run: each message is one's, by lease. One that dies between sending and writing that down leaves the message to be sent
 * again: a mail under the same Message-ID.
 */
export function createAlertWorker(deps: AlertWorkerDeps): AlertWorker {
  const { db, senders, now, metrics, logger, idleMs } = deps
  const kinds = (['email', 'telegram'] as const).filter((kind) => senders[kind] !== undefined)
  const repeatLookMs = Math.min(15_000, Math.max(100, deps.repeatEveryMs / 4))
  const inFlight = new Set<Promise<void>>()
  const problems = new Map<AlertKind, string>()
  const doneAtMs = {
    repeats: Number.NEGATIVE_INFINITY,
    count: Number.NEGATIVE_INFINITY,
    prune: Number.NEGATIVE_INFINITY,
  }

  async function step(): Promise<void> {
    await every('repeats', repeatLookMs, () =>
      queueAlertRepeats(db, { now: now(), everyMs: deps.repeatEveryMs, max: deps.maxRepeats }),
    )
    await every('count', countEveryMs, count)
    await every('prune', pruneEveryMs, () => pruneAlerts(db, { now: now(), limit: pruneLimit }))
    const limit = maxInFlight - inFlight.size
    if (kinds.length === 0 || limit <= 0) return
    const owner = deps.createLeaseId()
    const leased = await leaseAlerts(db, { kinds, owner, now: now(), leaseMs: deps.leaseMs, limit })
    for (const one of leased) start(one, owner)
  }

  async function every(what: keyof typeof doneAtMs, everyMs: number, run: () => Promise<unknown>): Promise<void> {
    if (now().getTime() - doneAtMs[what] < everyMs) return
    doneAtMs[what] = now().getTime()
    await run()
  }

  async function count(): Promise<void> {
    const waiting = await countWaitingAlerts(db)
    metrics.waiting.set(waiting?.count ?? 0)
    metrics.oldest.set(waiting ? Math.max(0, now().getTime() - waiting.oldestAt.getTime()) / 1_000 : 0)
  }

  function start(one: LeasedAlert, owner: string): void {
    const run = deliver(one, owner)
      .catch((err) => logger.error({ err, alert: one.delivery.id }, 'an alert is tried again when its lease ends'))
      .finally(() => inFlight.delete(run))
    inFlight.add(run)
  }

  async function deliver(one: LeasedAlert, owner: string): Promise<void> {
    const { delivery, channel } = one
    const send = senders[channel.kind]
    const text = await writeMessage(deps, one)
    const about = { alert: delivery.id, channel: channel.id, kind: delivery.kind, incident: delivery.incidentId }
    if (!text || !send || channel.target === null) {
      await recordAlertAttempt(db, { delivery, owner, verdict: { state: 'skipped' }, now: now() })
      logger.info(about, 'an alert had nothing to say any more')
      return
    }
    const sending = await send({ ...one, target: channel.target, text })
    const endedAt = now()
    const verdict = judgeSending(sending, { attempts: delivery.attempts, now: endedAt, random: deps.random() })
    if (!(await recordAlertAttempt(db, { delivery, owner, verdict, now: endedAt }))) {
      logger.info(about, 'the lease of an alert was over; another try is on its way')
      return
    }
    tell(channel.kind, verdict, about)
  }

  function tell(kind: AlertKind, verdict: ReturnType<typeof judgeSending>, about: object): void {
    const outcome = verdict.state === 'delivered' ? 'sent' : verdict.state === 'pending' ? 'retry' : 'failed'
    metrics.sent.inc({ channel: kind, outcome })
    if (!('error' in verdict)) {
      problems.delete(kind)
      logger.info(about, 'an alert was sent')
      return
    }
    const { error } = verdict
    if (verdict.state === 'pending') problems.set(kind, error.split('\n')[0]?.slice(0, 200) ?? '')
    else problems.delete(kind)
    const isDisabled = verdict.state === 'failed' && verdict.disable !== undefined
    if (isDisabled) metrics.disabled.inc({ channel: kind })
    logger.warn({ ...about, outcome, reason: error, isDisabled }, 'an alert was not sent')
  }

  async function run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      let waitMs = idleMs
      try {
        await step()
        failures = 0
      } catch (err) {
        failures++
        waitMs = Math.min(maxBackOffMs, idleMs * 2 ** Math.min(failures, 10))
        if (failures === 1 || !isDatabaseUnavailable(err)) logger.warn({ err }, 'alerts cannot be read')
      }
      await delay(waitMs, undefined, { signal }).catch(() => undefined)
    }
    await Promise.race([Promise.all(inFlight), delay(drainMs)])
  }

  return { run, problemOf: (kind) => problems.get(kind) }
}
