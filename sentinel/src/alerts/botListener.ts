import { setTimeout as delay } from 'node:timers/promises'
import {
  type Db,
  endBotLease,
  leaseBotUpdates,
  saveBotOffset,
  startAlertChat,
  stopAlertChat,
  tellAlertSender,
} from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import { type BotApi, BotApiError, type BotUpdate } from './botApi.ts'

export type BotListenerDeps = {
  db: Db
  bot: BotApi
  /** Of this process. */
  poller: string
  now(): Date
  logger: Logger
  /** How long Telegram may hold an answer back. */
  waitSeconds: number
}

export type BotListener = {
  run(signal: AbortSignal): Promise<void>
  /** Why nobody hears the bot; undefined: it is heard, here or by another sentinel. */
  problem(): string | undefined
}

const leaseMs = 90_000
/** When another sentinel listens. */
const idleMs = 5_000
const maxBackOffMs = 30_000
/** The bot is another's, or its token is wrong: somebody has to look. */
const wrongBotMs = 60_000
/** Of one answer of Telegram. Who writes nonsense to the bot does not keep others waiting. */
const maxReplies = 20

const replies = {
  started: undefined,
  taken: 'Alerts of that holder come to this chat already.',
  used: 'This link was used before. Make a new channel for another link.',
  expired: 'This link has expired. Ask for a new one.',
  unknown: 'This link is not known here. Make a channel for alerts, and open the link that comes with it.',
} as const

/**
 * Hears what is written to the bot (getUpdates, long polling): `/start` with a channel's token makes the chat that channel,
 * `/stop` ends it. One sentinel at a time listens, by lease; what it saw to is written down before more is asked for.
 */
export function createBotListener({ db, bot, poller, now, logger, waitSeconds }: BotListenerDeps): BotListener {
  let isKnown = false
  let problem: string | undefined

  async function step(signal: AbortSignal): Promise<number> {
    if (!isKnown) {
      const sender = await bot.getUsername(signal)
      await tellAlertSender(db, { kind: 'telegram', configured: true, sender, now: now() })
      isKnown = true
      logger.info({ bot: sender }, 'the bot is known')
    }
    const lease = await leaseBotUpdates(db, { poller, now: now(), leaseMs })
    if (!lease) return idleMs
    const updates = await bot.getUpdates({ offset: lease.offset, waitSeconds, signal })
    let answered = 0
    for (const update of updates) {
      const reply = await see(update)
      if (reply && answered++ < maxReplies) await bot.sendMessage(reply.chatId, { text: reply.text, buttons: [] })
      await saveBotOffset(db, { poller, offset: update.update_id + 1 })
    }
    return 0
  }

  async function see(update: BotUpdate): Promise<{ chatId: string; text: string } | undefined> {
    const { message, my_chat_member: member } = update
    if (member && ['kicked', 'left'].includes(member.new_chat_member.status)) {
      await stopAlertChat(db, { chatId: `${member.chat.id}`, reason: 'blocked', now: now() })
      return undefined
    }
    const [, command, token] = /^\/(start|stop)(?:@\w+)?(?:\s+(\S{1,100}))?\s*$/.exec(message?.text ?? '') ?? []
    if (!message || command === undefined) return undefined
    const chatId = `${message.chat.id}`
    if (message.chat.type !== 'private')
      return { chatId, text: 'Alerts come to private chats alone. Write to me there.' }
    if (command === 'stop') {
      const ended = await stopAlertChat(db, { chatId, reason: 'stopped', now: now() })
      return { chatId, text: ended > 0 ? 'No more alerts come to this chat.' : 'No alerts come to this chat.' }
    }
    const outcome = await startAlertChat(db, { token: token ?? '', chatId, now: now() })
    logger.info({ outcome }, 'a chat wants to be told of incidents')
    const text = replies[outcome]
    return text === undefined ? undefined : { chatId, text }
  }

  function waitAfter(error: unknown, failures: number): number {
    const backOff = Math.min(maxBackOffMs, 500 * 2 ** Math.min(failures, 10))
    if (!(error instanceof BotApiError)) return backOff
    if (error.status === 401 || error.status === 404) return wrongBotMs
    return Math.min(wrongBotMs, Math.max(backOff, error.retryAfterMs ?? 0))
  }

  return {
    problem: () => problem,
    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        let waitMs = 0
        try {
          waitMs = await step(signal)
          failures = 0
          problem = undefined
        } catch (error) {
          if (signal.aborted) break
          failures++
          waitMs = waitAfter(error, failures)
          problem = error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 200) : String(error)
          if (failures === 1) logger.warn({ reason: problem }, 'the bot is not heard')
        }
        if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined)
      }
      await endBotLease(db, poller).catch((err) => logger.warn({ err }, 'the lease of the bot ends by itself'))
    },
  }
}
