import { setTimeout as delay } from 'node:timers/promises'
import {
  countWaitingMessages,
  type Db,
  isDatabaseUnavailable,
  type LeasedDelivery,
  leaseWebhookDeliveries,
  pruneOwnerSessions,
  pruneWebhooks,
  publishWebhookEvents,
  recordWebhookAttempt,
  type WebhookEndpoint,
  type WebhookEvent,
} from '@protocolbanks/stream-db'
import { formatTraceparent } from '@protocolbanks/stream-runtime'
import type { Logger } from 'pino'
import { Counter, Gauge, type Registry } from 'prom-client'
import { judgeAttempt, maxAttempts } from './judgeAttempt.ts'
import type { SecretBox } from './secretBox.ts'
import type { SendWebhook, WebhookAnswer, WebhookRequest } from './sendWebhook.ts'
import { signWebhook } from './signWebhook.ts'
import { traceOfEvent } from './traceOfEvent.ts'
import { endpointDisabledType, toWebhookPayload, webhookEventTypes } from './webhookEvents.ts'

export type WebhookWorkerOptions = {
  db: Db
  /** Undefined: events are written down, and none is sent. */
  secrets: SecretBox | undefined
  send: SendWebhook
  /** Longer than `send` takes at most. */
  leaseMs: number
  clock(): number
  /** From 0 to 1. */
  random(): number
  /** Another one each time. */
  createLeaseId(): string
  logger: Logger
  /** How long events and published messages are kept; 30 days by default. */
  keptMs?: number | undefined
  /** How long to wait when there was nothing. */
  idleMs?: number | undefined
  metrics?: Registry | undefined
}

export type WebhookWorker = {
  /** Delivers until the signal, then waits for the tries that are on their way. */
  run(signal: AbortSignal): Promise<void>
  /** Everything that is due now, to its end. Says how many tries that were. @throws when Postgres does not answer */
  drain(): Promise<number>
}

/** At once, of this process. */
const maxInFlight = 32
/** At once, at one endpoint. */
const maxPerEndpoint = 4
const messagesAtOnce = 100
const pruneEveryMs = 3_600_000
const pruneLimit = 1_000
const countEveryMs = 15_000
const maxBackOffMs = 5_000

/**
 * Sends what merchants, owners and the operator asked to be told. Any number of workers may run: each message of the
 * outbox becomes an event once, and each try is one worker's, by lease. A worker that dies between sending and writing
 * that down leaves the event to be sent again, under the same id.
 *
 * @example createWebhookWorker({ db, secrets, send, leaseMs: 20_000, clock: Date.now, random: Math.random, createLeaseId: randomUUID, logger }).run(signal)
 */
export function createWebhookWorker(options: WebhookWorkerOptions): WebhookWorker {
  const { db, secrets, send, leaseMs, clock, random, createLeaseId, logger, idleMs = 500 } = options
  const { keptMs = 30 * 86_400_000 } = options
  const metrics = options.metrics && createMetrics(options.metrics)
  const now = () => new Date(clock())
  /** Tries on their way, and how many of each endpoint. */
  const inFlight = new Set<Promise<void>>()
  const perEndpoint = new Map<string, number>()
  let prunedAt = Number.NEGATIVE_INFINITY
  let countedAt = Number.NEGATIVE_INFINITY

  /** Starts what is due. Answers whether there may be more. */
  async function step(): Promise<{ started: number; more: boolean }> {
    const published = await publishWebhookEvents(db, {
      topics: webhookEventTypes,
      limit: messagesAtOnce,
      now: now(),
      maxAttempts,
    })
    await prune()
    await countWaiting()
    const leased = await lease()
    for (const one of leased) start(one)
    return { started: leased.length, more: published === messagesAtOnce || leased.length > 0 }
  }

  async function lease(): Promise<(LeasedDelivery & { owner: string })[]> {
    const limit = maxInFlight - inFlight.size
    if (!secrets || limit <= 0) return []
    const owner = createLeaseId()
    const except = [...perEndpoint.keys()]
    const due = { owner, now: now(), leaseMs, limit, perEndpoint: maxPerEndpoint, except }
    return (await leaseWebhookDeliveries(db, due)).map((one) => ({ ...one, owner }))
  }

  function start(one: LeasedDelivery & { owner: string }): void {
    const { id } = one.endpoint
    perEndpoint.set(id, (perEndpoint.get(id) ?? 0) + 1)
    const run = deliver(one)
      .catch((err) => {
        const about = { err, event: one.event.id, endpoint: id }
        logger.error(about, 'a try of a webhook was not written down; it is made again when its lease ends')
      })
      .finally(() => {
        const left = (perEndpoint.get(id) ?? 0) - 1
        if (left > 0) perEndpoint.set(id, left)
        else perEndpoint.delete(id)
        inFlight.delete(run)
      })
    inFlight.add(run)
  }

  async function deliver({ delivery, event, endpoint, owner }: LeasedDelivery & { owner: string }): Promise<void> {
    const startedAt = now()
    const request = make(event, endpoint, startedAt)
    const answer = 'error' in request ? request : await send(request)
    const endedAt = now()
    const judged = judgeAttempt({ ...delivery, ...answer, now: endedAt, random: random() })
    // What we could not make is no fault of who should have got it.
    const verdict = 'error' in request && judged.state === 'failed' ? { ...judged, disable: 'never' as const } : judged
    const { recorded, disabled } = await recordWebhookAttempt(db, {
      delivery,
      owner,
      attempt: { ...answer, startedAt, durationMs: Math.max(0, endedAt.getTime() - startedAt.getTime()) },
      verdict,
      now: endedAt,
      disabledTopic: endpointDisabledType,
    })
    const { traceId } = traceOfEvent(event.data) ?? {}
    const about = { event: event.id, type: event.type, endpoint: endpoint.id, status: answer.statusCode, traceId }
    if (!recorded) return logger.info(about, 'the lease of a webhook was over; another try is on its way')
    metrics?.attempts.inc({ outcome: verdict.state === 'pending' ? 'retry' : verdict.state })
    logger.debug({ ...about, outcome: verdict.state, error: answer.error }, 'a webhook was tried')
    if (!disabled) return
    metrics?.disabled.inc()
    const { merchantId, account } = endpoint
    logger.warn({ ...about, merchant: merchantId, account }, 'an endpoint of webhooks was disabled')
  }

  /** The signed request, or why there is none: a mistake of ours, or a key that is missing. */
  function make(event: WebhookEvent, endpoint: WebhookEndpoint, at: Date): WebhookRequest | WebhookAnswer {
    try {
      const body = JSON.stringify(toWebhookPayload(event))
      const signature = signWebhook({ id: event.id, at, body, secrets: secretsOf(endpoint, at) })
      const trace = traceOfEvent(event.data)
      const headers = {
        ...signature,
        ...(trace && { traceparent: formatTraceparent(trace) }),
        'content-type': 'application/json',
        'user-agent': 'ProtocolBanks-Webhooks/1',
      }
      return { url: endpoint.url, headers, body }
    } catch (err) {
      logger.error({ err, event: event.id, type: event.type, endpoint: endpoint.id }, 'a webhook cannot be made')
      return { statusCode: null, responseBody: null, error: 'The event could not be made. This is a mistake of ours.' }
    }
  }

  function secretsOf(endpoint: WebhookEndpoint, at: Date): string[] {
    const { id, secret, previousSecret, previousSecretUntil } = endpoint
    const overlaps = previousSecret !== null && previousSecretUntil !== null && previousSecretUntil > at
    const sealed = overlaps ? [secret, previousSecret] : [secret]
    return sealed.flatMap((text) => secrets?.open(text, id) ?? [])
  }

  async function prune(): Promise<void> {
    if (clock() - prunedAt < pruneEveryMs) return
    const before = new Date(clock() - keptMs)
    const gone = await pruneWebhooks(db, { before, limit: pruneLimit })
    const sessions = await pruneOwnerSessions(db, { now: now(), limit: pruneLimit })
    // The rest in the next step.
    if (gone + sessions === 0) prunedAt = clock()
  }

  async function countWaiting(): Promise<void> {
    if (!metrics || clock() - countedAt < countEveryMs) return
    countedAt = clock()
    const waiting = await countWaitingMessages(db, webhookEventTypes)
    metrics.waiting.reset()
    for (const { topic, isKnown, count } of waiting) metrics.waiting.set({ topic, known: `${isKnown}` }, count)
    const oldest = Math.min(...waiting.map(({ oldestAt }) => oldestAt.getTime()), clock())
    metrics.oldest.set((clock() - oldest) / 1_000)
  }

  async function drain(): Promise<number> {
    let tries = 0
    for (let next = await step(); next.more; next = await step()) {
      tries += next.started
      await Promise.all(inFlight)
    }
    await Promise.all(inFlight)
    return tries
  }

  async function run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      let waitMs = idleMs
      try {
        if ((await step()).more) waitMs = 0
        failures = 0
      } catch (err) {
        failures++
        waitMs = Math.min(maxBackOffMs, idleMs * 2 ** Math.min(failures, 10))
        if (failures === 1 || !isDatabaseUnavailable(err)) logger.warn({ err }, 'webhooks cannot be read')
      }
      if (waitMs > 0) await waitFor(waitMs, signal)
    }
    await Promise.all(inFlight)
  }

  /** Until a try ends, when that is earlier: its endpoint may have more. */
  async function waitFor(waitMs: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    const wait = delay(waitMs, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => undefined)
    await Promise.race([wait, ...inFlight])
    woken.abort()
  }

  return { run, drain }
}

function createMetrics(registry: Registry) {
  return {
    attempts: new Counter({
      name: 'gateway_webhook_attempts_total',
      help: 'Tries of webhooks by outcome: delivered, retry, failed.',
      labelNames: ['outcome'],
      registers: [registry],
    }),
    waiting: new Gauge({
      name: 'gateway_outbox_waiting_messages',
      help: 'Messages of the outbox that nobody has taken, by topic. known="false": nobody ever will.',
      labelNames: ['topic', 'known'],
      registers: [registry],
    }),
    oldest: new Gauge({
      name: 'gateway_outbox_oldest_message_seconds',
      help: 'Age of the oldest message of the outbox that nobody has taken; 0 when there is none.',
      registers: [registry],
    }),
    disabled: new Counter({
      name: 'gateway_webhook_endpoints_disabled_total',
      help: 'Endpoints that were disabled because they took nothing.',
      registers: [registry],
    }),
  }
}
