import { afterEach, beforeEach, expect, test } from 'vitest'
import { BotApiError, createBotApi } from './botApi.ts'
import { type BotServer, startBotServer } from './testing/startBotServer.ts'

let server: BotServer
beforeEach(async () => {
  server = await startBotServer()
})
afterEach(() => server.stop())

const signal = new AbortController().signal
const botOf = (change: Partial<Parameters<typeof createBotApi>[0]> = {}) =>
  createBotApi({ url: server.url, token: server.token, timeoutMs: 10_000, ...change })
const hello = { text: 'Hello <b>&</b>', buttons: [] }

test('a message arrives as it was written, its links as buttons', async () => {
  const buttons = [
    { text: 'One', url: 'https://a.example/1' },
    { text: 'Two', url: 'https://a.example/2' },
  ]
  expect(await botOf().sendMessage('77', { ...hello, buttons })).toEqual({ ok: true })
  expect(server.sent).toEqual([{ chatId: '77', text: hello.text, buttons }])
})

test.each([
  [429, 'Too Many Requests: retry after 7', { again: true, afterMs: 7_000 }],
  [500, 'Internal Server Error', { again: true }],
  [401, 'Unauthorized', { again: true }],
  [404, 'Not Found', { again: true }],
  [403, 'Forbidden: bot was blocked by the user', { again: false, channel: 'blocked' }],
  [400, 'Bad Request: chat not found', { again: false, channel: 'gone' }],
  [400, 'Bad Request: message is too long', { again: false }],
])('%i %s', async (status, description, expected) => {
  server.refuse = () => ({ status, description, ...(status === 429 && { retryAfter: 7 }) })
  const sending = await botOf().sendMessage('77', hello)
  expect(sending).toMatchObject({ ok: false, error: `${status} ${description}`, ...expected })
  if (!('channel' in expected)) expect(sending).not.toHaveProperty('channel')
})

test('updates are waited for, come from where one asks, and not again when the next were asked for', async () => {
  const bot = botOf()
  expect(await bot.getUsername(signal)).toBe(server.username)
  const waiting = bot.getUpdates({ offset: 0, waitSeconds: 20, signal })
  server.write(5, '/start abc')
  const [first] = await waiting
  expect(first).toMatchObject({ message: { chat: { id: 5, type: 'private' }, text: '/start abc' } })
  server.block(5)
  expect(await bot.getUpdates({ offset: 0, waitSeconds: 0, signal })).toHaveLength(2)
  const rest = await bot.getUpdates({ offset: (first?.update_id ?? 0) + 1, waitSeconds: 0, signal })
  expect(rest).toMatchObject([{ my_chat_member: { chat: { id: 5 }, new_chat_member: { status: 'kicked' } } }])
  expect(await bot.getUpdates({ offset: 3, waitSeconds: 0, signal })).toEqual([])
})

test('of two who listen one is told that another does', async () => {
  const bot = botOf()
  const first = bot.getUpdates({ offset: 0, waitSeconds: 20, signal }).catch((error: BotApiError) => error.status)
  const wait = { offset: 0, waitSeconds: 1, signal }
  await expect.poll(() => server.isAsked(), { interval: 5 }).toBe(true)
  expect([await bot.getUpdates(wait), await first]).toEqual([[], 409])
})

test('waiting ends when it is told to', async () => {
  const stopping = new AbortController()
  const waiting = botOf().getUpdates({ offset: 0, waitSeconds: 20, signal: stopping.signal })
  stopping.abort()
  await expect(waiting).rejects.toBeInstanceOf(BotApiError)
})

test('an update that has something else in it does not stop those after it', async () => {
  const updates = [
    { update_id: 1, message: { chat: 'none' } },
    { update_id: 2, poll: {} },
  ]
  const odd = botOf({ fetch: async () => Response.json({ ok: true, result: updates }) })
  expect(await odd.getUpdates({ offset: 0, waitSeconds: 0, signal })).toEqual([{ update_id: 1 }, { update_id: 2 }])
})

test('no error has the token in it', async () => {
  const { token } = server
  await server.pause()
  const gone = await botOf().sendMessage('77', hello)
  expect(gone).toMatchObject({ ok: false, again: true })
  expect(JSON.stringify(gone)).not.toContain(token)
  const noise = botOf({ fetch: async () => new Response('<html>', { status: 502 }) })
  expect(await noise.sendMessage('77', hello)).toEqual({
    ok: false,
    again: true,
    error: '502 Telegram gave status 502.',
    afterMs: undefined,
  })
  await server.resume()
})
