import { randomBytes, randomUUID } from 'node:crypto'
import { createAlertChannel, type Db, getAlertChannel, tellAlertSender } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { createBotApi } from './botApi.ts'
import { createBotListener } from './botListener.ts'
import { type BotServer, startBotServer } from './testing/startBotServer.ts'

const soon = { timeout: 60_000, interval: 20 }

let database: TestDatabase
let server: BotServer
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  server = await startBotServer()
  await tellAlertSender(database.db, { kind: 'telegram', configured: true, sender: null, now: new Date() })
})
afterAll(async () => {
  await server.stop()
  await database.drop()
})

const running: { stopping: AbortController; done: Promise<void> }[] = []
afterEach(async () => {
  for (const { stopping } of running) stopping.abort()
  await Promise.all(running.splice(0).map(({ done }) => done))
})

function listen(db: Db = database.db, url = server.url) {
  const bot = createBotApi({ url, token: server.token, timeoutMs: 30_000 })
  const logger = pino({ level: 'silent' })
  const now = () => new Date()
  const listener = createBotListener({ db, bot, poller: randomUUID(), now, logger, waitSeconds: 1 })
  const stopping = new AbortController()
  running.push({ stopping, done: listener.run(stopping.signal) })
  return listener
}

async function makeChannel(): Promise<{ id: string; token: string }> {
  const now = new Date()
  const token = randomBytes(32).toString('base64url')
  const account = `0x${randomBytes(20).toString('hex')}` as const
  const expiresAt = new Date(now.getTime() + 60_000)
  const wanted = { merchantId: null, account, kind: 'telegram', leastSeverity: 'info', startToken: token } as const
  const channel = await createAlertChannel(database.db, { ...wanted, expiresAt, now })
  if (typeof channel === 'string') throw new Error(channel)
  return { id: channel.id, token }
}

const stateOf = async (id: string) => (await getAlertChannel(database.db, id))?.state
const answersTo = (chatId: number) => server.sent.filter((one) => one.chatId === `${chatId}`).map(({ text }) => text)

test('a chat that sends a token becomes that channel, once, and every other answer says what to do', async () => {
  listen()
  const { id, token } = await makeChannel()
  server.write(11, `/start ${token}`)
  await expect.poll(() => stateOf(id), soon).toBe('active')
  server.write(12, `/start ${token}`)
  server.write(12, '/start')
  server.write(12, `/start ${token.slice(1)}`)
  server.write(12, 'hello')
  server.write(12, '/stop')
  await expect.poll(() => answersTo(12).length, soon).toBe(4)
  expect(answersTo(12)).toEqual([
    expect.stringContaining('was used before'),
    expect.stringContaining('not known here'),
    expect.stringContaining('not known here'),
    'No alerts come to this chat.',
  ])
  expect(await getAlertChannel(database.db, id)).toMatchObject({ state: 'active', target: '11' })
})

test('who writes /stop or blocks the bot gets no more', async () => {
  listen()
  const channels = [await makeChannel(), await makeChannel()]
  for (const [index, { token }] of channels.entries()) server.write(20 + index, `/start ${token}`)
  for (const { id } of channels) await expect.poll(() => stateOf(id), soon).toBe('active')
  server.write(20, '/stop')
  server.block(21)
  for (const { id } of channels) await expect.poll(() => stateOf(id), soon).toBe('disabled')
})

test('several listeners do not disturb each other, and one that goes is followed by another at once', async () => {
  const first = listen()
  listen()
  const { id, token } = await makeChannel()
  server.write(31, `/start ${token}`)
  await expect.poll(() => stateOf(id), soon).toBe('active')
  expect(first.problem()).toBeUndefined()
  const [one] = running.splice(0, 1)
  one?.stopping.abort()
  await one?.done
  const next = await makeChannel()
  server.write(32, `/start ${next.token}`)
  await expect.poll(() => stateOf(next.id), soon).toBe('active')
})

test('while Telegram is away that is said, and what was written meanwhile is heard afterwards', async () => {
  const { id, token } = await makeChannel()
  await server.pause()
  const listener = listen()
  await expect.poll(() => listener.problem(), soon).toContain('Telegram gave no answer')
  server.write(41, `/start ${token}`)
  await server.resume()
  await expect.poll(() => stateOf(id), soon).toBe('active')
  await expect.poll(() => listener.problem(), soon).toBeUndefined()
})
