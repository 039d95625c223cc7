import { z } from 'zod'
import type { Sending } from './judgeSending.ts'
import type { ChatMessage } from './renderChat.ts'

export type BotApiOptions = {
  /** `https://api.telegram.org`, or a Bot API server of one's own. */
  url: string
  token: string
  /** Of an answer; waiting for updates has its own on top. */
  timeoutMs: number
  fetch?: typeof fetch | undefined
}

const failureSchema = z.object({
  ok: z.literal(false),
  error_code: z.int(),
  description: z.string(),
  parameters: z.object({ retry_after: z.number().nonnegative().optional() }).optional(),
})
const successSchema = z.object({ ok: z.literal(true), result: z.unknown() })
const answerSchema = z.union([successSchema, failureSchema])

const meSchema = z.object({ username: z.string().min(1).max(64) })
/** An update that has something else in it has an id nevertheless. */
const updateSchema = z.object({
  update_id: z.int(),
  message: z
    .object({ chat: z.object({ id: z.int(), type: z.string() }), text: z.string().optional() })
    .optional()
    .catch(undefined),
  my_chat_member: z
    .object({ chat: z.object({ id: z.int() }), new_chat_member: z.object({ status: z.string() }) })
    .optional()
    .catch(undefined),
})

export type BotUpdate = z.output<typeof updateSchema>

/** The three methods of https://core.telegram.org/bots/api that are needed here. */
export type BotApi = {
  /** The bot's name. @throws BotApiError */
  getUsername(signal: AbortSignal): Promise<string>
  /** Waits for updates from `offset` on, and ends those before. @throws BotApiError */
  getUpdates(of: { offset: number; waitSeconds: number; signal: AbortSignal }): Promise<BotUpdate[]>
  sendMessage(chatId: string, message: ChatMessage): Promise<Sending>
}

const maxUpdates = 100

export function createBotApi({ url, token, timeoutMs, fetch: ask = fetch }: BotApiOptions): BotApi {
  async function call(method: string, body: object, signal: AbortSignal): Promise<unknown> {
    let status = 0
    try {
      const response = await ask(`${url.replace(/\/+$/, '')}/bot${token}/${method}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal,
        redirect: 'error',
      })
      status = response.status
      const answer = answerSchema.parse(await response.json())
      if (answer.ok) return answer.result
      const { error_code, description, parameters } = answer
      const retryAfterMs = parameters?.retry_after === undefined ? undefined : parameters.retry_after * 1_000
      throw new BotApiError(error_code, description, retryAfterMs)
    } catch (error) {
      if (error instanceof BotApiError) throw error
      // What fetch throws may name the address, which has the token in it.
      const why = error instanceof Error && error.name === 'TimeoutError' ? 'no answer in time' : 'no answer'
      throw new BotApiError(status >= 400 ? status : 0, `Telegram gave ${status >= 400 ? `status ${status}` : why}.`)
    }
  }

  return {
    async getUsername(signal) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
      return meSchema.parse(await call('getMe', {}, limit)).username
    },
    async getUpdates({ offset, waitSeconds, signal }) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs + waitSeconds * 1_000)])
      const wanted = { offset, timeout: waitSeconds, limit: maxUpdates, allowed_updates: ['message', 'my_chat_member'] }
      return z
        .array(updateSchema)
        .max(maxUpdates)
        .parse(await call('getUpdates', wanted, limit))
    },
    async sendMessage(chatId, { text, buttons }) {
      const message = {
        chat_id: chatId,
        text,
        link_preview_options: { is_disabled: true },
        ...(buttons.length > 0 && { reply_markup: { inline_keyboard: buttons.map((button) => [button]) } }),
      }
      try {
        await call('sendMessage', message, AbortSignal.timeout(timeoutMs))
        return { ok: true }
      } catch (error) {
        return judgeBotError(error)
      }
    },
  }
}

/** 0: there was no answer. */
export class BotApiError extends Error {
  readonly status: number
  readonly retryAfterMs: number | undefined
  constructor(status: number, description: string, retryAfterMs?: number) {
    super(status === 0 ? description : `${status} ${description}`)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

/** What is wrong with the bot (401, 404) is no fault of the chat: it is tried again, and shown. */
export function judgeBotError(error: unknown): Sending {
  if (!(error instanceof BotApiError)) return { ok: false, again: true, error: String(error) }
  const { status, message, retryAfterMs } = error
  if (status === 403) return { ok: false, again: false, error: message, channel: 'blocked' }
  if (status !== 400) return { ok: false, again: true, error: message, afterMs: retryAfterMs }
  const isGone = /chat not found|user is deactivated|PEER_ID_INVALID|upgraded to a supergroup/i.test(message)
  return { ok: false, again: false, error: message, ...(isGone && { channel: 'gone' as const }) }
}
