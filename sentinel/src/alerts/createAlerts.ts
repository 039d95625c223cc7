import { setTimeout as delay } from 'node:timers/promises'
import { type AlertKind, type Db, tellAlertSender } from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import { createAlertMetrics } from './alertMetrics.ts'
import { createAlertTokens } from './alertTokens.ts'
import { createAlertWorker, type SendAlert } from './alertWorker.ts'
import { createBotApi } from './botApi.ts'
import { createBotListener } from './botListener.ts'
import { renderChat } from './renderChat.ts'
import { renderMail } from './renderMail.ts'
import { createSendMail } from './sendMail.ts'

export type AlertsOptions = {
  db: Db
  clock(): number
  /** From 0 to 1. */
  random(): number
  /** A random UUID. */
  createId(): string
  registry: Registry
  logger: Logger
  decimals: number
  /** Where owners reach the gateway, and what signs links. Undefined: nothing can be sent. */
  links: { publicUrl: string; secret: string } | undefined
  mail: { url: string; from: string } | undefined
  telegram: { url: string; token: string } | undefined
  repeatEveryMs: number
  maxRepeats: number
}

export type Alerts = {
  /** Sends and listens until the signal. */
  run(signal: AbortSignal): Promise<void>
  /** For the operator: what is sent by which way, or why it is not. */
  notes(): Record<AlertKind, string>
}

const sendTimeoutMs = 15_000
/** Of one try: the session of a mail has several steps. */
const leaseMs = 180_000
const idleMs = 500
const waitSeconds = 25
const announceEveryMs = 60_000

/** The sentinel's alerts by e-mail and Telegram, each where it is configured. */
export function createAlerts(options: AlertsOptions): Alerts {
  const { db, clock, random, createId, registry, logger, decimals, links, mail, telegram } = options
  const now = () => new Date(clock())
  const metrics = createAlertMetrics(registry)
  const bot = links && telegram && createBotApi({ ...telegram, timeoutMs: sendTimeoutMs })
  const listener = bot && createBotListener({ db, bot, poller: createId(), now, logger, waitSeconds })
  const sendMail = links && mail && createSendMail({ ...mail, timeoutMs: sendTimeoutMs })

  const byMail: SendAlert | undefined =
    sendMail &&
    (({ delivery, target, text }) =>
      sendMail({ ...renderMail(text), to: target, id: delivery.id, thread: delivery.incidentId ?? undefined }))
  const byTelegram: SendAlert | undefined = bot && (({ target, text }) => bot.sendMessage(target, renderChat(text)))

  const worker =
    links &&
    createAlertWorker({
      db,
      tokens: createAlertTokens(links),
      decimals,
      now,
      senders: { ...(byMail && { email: byMail }), ...(byTelegram && { telegram: byTelegram }) },
      repeatEveryMs: options.repeatEveryMs,
      maxRepeats: options.maxRepeats,
      leaseMs,
      random,
      createLeaseId: createId,
      metrics,
      logger,
      idleMs,
    })

  /** Gateways read what can be sent before they let a channel be made. */
  async function announce(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let waitMs = announceEveryMs
      try {
        const at = now()
        await tellAlertSender(db, { kind: 'email', configured: !!sendMail, sender: mail?.from ?? null, now: at })
        // The listener tells its name.
        await tellAlertSender(db, { kind: 'telegram', configured: !!bot, sender: null, now: at })
      } catch (err) {
        logger.warn({ err }, 'what can be sent is not told')
        waitMs = idleMs
      }
      await delay(waitMs, undefined, { signal }).catch(() => undefined)
    }
  }

  const missing = (what: string) => `not configured: ${links ? what : 'PUBLIC_URL and ALERT_LINK_SECRET'} are not set`
  return {
    async run(signal) {
      await Promise.all([announce(signal), worker?.run(signal), listener?.run(signal)])
    },
    notes: () => ({
      email: sendMail ? (worker?.problemOf('email') ?? 'ok') : missing('SMTP_URL and ALERT_FROM'),
      telegram: bot
        ? (listener?.problem() ?? worker?.problemOf('telegram') ?? 'ok')
        : links
          ? 'not configured: TELEGRAM_BOT_TOKEN is not set'
          : missing(''),
    }),
  }
}
