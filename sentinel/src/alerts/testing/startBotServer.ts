import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

export type SentMessage = {
  chatId: string
  text: string
  buttons: { text: string; url: string }[]
}

export type BotServer = {
  url: string
  token: string
  username: string
  /** What the bot sent. */
  sent: SentMessage[]
  /** Answers of `sendMessage` that were refused. */
  refused: number
  /** A refusal for a message to a chat; undefined: it is taken. */
  refuse: (chatId: string) => { status: number; description: string; retryAfter?: number } | undefined
  /** Whether somebody waits for updates. */
  isAsked(): boolean
  /** Somebody writes to the bot in their own chat. */
  write(chatId: number, text: string): void
  /** Somebody blocks it. */
  block(chatId: number): void
  /** It is gone for a while, and comes back at the same port. */
  pause(): Promise<void>
  resume(): Promise<void>
  stop(): Promise<void>
}

type Update = { update_id: number } & Record<string, unknown>

/**
 * Speaks the Bot API (https://core.telegram.org/bots/api) over HTTP: getMe, getUpdates with long polling and offsets, one
 * at a time (409), sendMessage with its errors.
 */
export async function startBotServer(): Promise<BotServer> {
  const token = '123456:test-token-of-a-bot'
  const username = 'stream_alerts_bot'
  let updates: Update[] = []
  let lastId = 0
  let waiting: { end(): void; conflict(): void } | undefined
  const state: Pick<BotServer, 'refuse' | 'sent' | 'refused'> = { refuse: () => undefined, sent: [], refused: 0 }

  const server = createServer(async (request, response) => {
    const [, given, method] = /^\/bot([^/]+)\/(\w+)$/.exec(request.url ?? '') ?? []
    if (given !== token) return fail(response, 401, 'Unauthorized')
    const body = await readJson(request)
    if (method === 'getMe') return succeed(response, { id: 123456, is_bot: true, first_name: 'Alerts', username })
    if (method === 'getUpdates') return giveUpdates(body, response)
    if (method === 'sendMessage') return takeMessage(body, response)
    return fail(response, 404, 'Not Found')
  })

  function giveUpdates(body: Record<string, unknown>, response: ServerResponse): void {
    waiting?.conflict()
    const offset = Number(body.offset ?? 0)
    updates = updates.filter(({ update_id }) => update_id >= offset)
    const give = () => succeed(response, updates.slice(0, Number(body.limit ?? 100)))
    if (updates.length > 0) {
      give()
      return
    }
    const timer = setTimeout(() => one.end(), Number(body.timeout ?? 0) * 1_000)
    const leave = () => {
      clearTimeout(timer)
      if (waiting === one) waiting = undefined
    }
    const one = {
      end() {
        leave()
        give()
      },
      conflict() {
        leave()
        fail(response, 409, 'Conflict: terminated by other getUpdates request')
      },
    }
    response.once('close', leave)
    waiting = one
  }

  function takeMessage(body: Record<string, unknown>, response: ServerResponse): void {
    const chatId = String(body.chat_id)
    const text = String(body.text ?? '')
    const refusal = state.refuse(chatId)
    if (refusal) {
      state.refused++
      const { status, description, retryAfter } = refusal
      fail(response, status, description, retryAfter === undefined ? undefined : { retry_after: retryAfter })
    } else if (text === '' || text.length > 4_096) {
      fail(response, 400, 'Bad Request: message is too long')
    } else {
      const markup = body.reply_markup as { inline_keyboard?: { text: string; url: string }[][] } | undefined
      state.sent.push({ chatId, text, buttons: markup?.inline_keyboard?.flat() ?? [] })
      succeed(response, { message_id: state.sent.length })
    }
  }

  function add(update: Record<string, unknown>): void {
    updates.push({ update_id: ++lastId, ...update })
    waiting?.end()
  }

  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', resolve)
    })
  const pause = async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  await listen(0)
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('The server of the bot has no port.')
  return Object.assign(state, {
    url: `http://127.0.0.1:${address.port}`,
    token,
    username,
    isAsked: () => waiting !== undefined,
    write: (chatId: number, text: string) => add({ message: { chat: { id: chatId, type: 'private' }, text } }),
    block: (chatId: number) => add({ my_chat_member: { chat: { id: chatId }, new_chat_member: { status: 'kicked' } } }),
    pause,
    resume: () => listen(address.port),
    stop: pause,
  })
}

function succeed(response: ServerResponse, result: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ok: true, result }))
}

function fail(response: ServerResponse, status: number, description: string, parameters?: object): void {
  const body = { ok: false, error_code: status, description, ...(parameters && { parameters }) }
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = ''
  for await (const chunk of request) text += chunk
  return text === '' ? {} : JSON.parse(text)
}
