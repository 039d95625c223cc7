import { createDb, listDecisions, listIncidents, openOwnerSession } from '@protocolbanks/stream-db'
import { freePort, type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import {
  type BotServer,
  type MailServer,
  startBotServer,
  startMailServer,
} from '@protocolbanks/stream-sentinel/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentOf, callUntilRefused } from './testing/agentOf.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, type Shop } from './testing/openShop.ts'
import { startSentinel } from './testing/startSentinel.ts'

// Alerts by e-mail and Telegram, from two sentinels at once: what a mail server and the Bot API really get.

const timeout = 900_000
/** What could not be sent is tried again after minutes, when it was away for one. */
const soon = { timeout: 300_000, interval: 50 }
const mostCalls = 10
const credentials = { user: 'alerts', password: 'a p@ss:word' }

let mail: MailServer
let bot: BotServer
let stack: Stack
let second: Service
let db: ReturnType<typeof createDb>
let shop: Shop
beforeAll(async () => {
  ;[mail, bot] = await Promise.all([startMailServer({ credentials }), startBotServer()])
  const gatewayPort = await freePort()
  const alerts = {
    MAX_CALLS_PER_MINUTE: `${mostCalls}`,
    WARM_UP_SECONDS: '0',
    SMTP_URL: `smtp://${credentials.user}:${encodeURIComponent(credentials.password)}@127.0.0.1:${mail.port}`,
    ALERT_FROM: 'Stream <alerts@stream.example.com>',
    NODE_EXTRA_CA_CERTS: mail.certificateFile,
    TELEGRAM_BOT_TOKEN: bot.token,
    TELEGRAM_API_URL: bot.url,
    PUBLIC_URL: `http://127.0.0.1:${gatewayPort}`,
    ALERT_LINK_SECRET: 'a secret of this test, long enough',
    ALERT_REPEAT_SECONDS: '3',
    ALERT_MAX_REPEATS: '50',
  }
  stack = await startStack({ withSentinel: true, ports: { gateway: gatewayPort }, env: { sentinel: alerts } })
  second = await startSentinel(stack, alerts, 'sentinel-2')
  db = createDb({ url: stack.databaseUrl, maxConnections: 2, onError: () => {} })
  shop = await openShop(stack, 'weather')
}, timeout)
afterAll(async () => {
  await second?.stop()
  await shop?.stop()
  await db?.close()
  await stack?.stop()
  await Promise.all([mail?.stop(), bot?.stop()])
}, 240_000)

type Owner = { budget: Budget; token: string; path: string }
type Channel = { id: string; state: string; address: string; startUrl: string; disabled: { reason: string } | null }

let people = 0

async function arrangeOwner(): Promise<Owner> {
  const budget = await giveBudget(stack, shop)
  const account = budget.account.address
  const now = new Date()
  const expiresAt = new Date(now.getTime() + 3_600_000)
  const session = await openOwnerSession(db, { account, nonce: budget.grantId, now, expiresAt })
  if (!session) throw new Error('no session')
  return { budget, token: session.token, path: '/owner/alert-channels' }
}

/** A channel to a new address that its reader confirmed, by the mail's own link. */
async function confirmedMail({ token }: Pick<Owner, 'token'>): Promise<Channel> {
  const address = `reader-${people++}@example.com`
  const made = await manage<Channel>(stack, token, 'POST /owner/alert-channels', { kind: 'email', address })
  expect(made.status).toBe(201)
  const link = await linkIn(address, 'Do you want alerts', 'Send alerts to this address')
  // A scanner of mail that opens it changes nothing.
  expect((await fetch(link)).status).toBe(200)
  expect((await channelOf(token, made.body.id)).state).toBe('unverified')
  expect((await fetch(link, { method: 'POST' })).status).toBe(200)
  await expect.poll(() => subjectsTo(address), soon).toContain('Alerts are sent here from now on')
  return made.body
}

/** A chat whose reader opened the channel's link. */
async function startedChat({ token }: Pick<Owner, 'token'>): Promise<{ channel: Channel; chatId: string }> {
  const { body } = await manage<Channel>(stack, token, 'POST /owner/alert-channels', { kind: 'telegram' })
  const start = new URL(body.startUrl)
  expect(`${start.origin}${start.pathname}`).toBe(`https://t.me/${bot.username}`)
  const chatId = 1_000 + people++
  bot.write(chatId, `/start ${start.searchParams.get('start')}`)
  await expect.poll(() => chatOf(`${chatId}`)[0], soon).toContain('Alerts are sent here from now on')
  return { channel: body, chatId: `${chatId}` }
}

const channelOf = async (token: string, id: string) =>
  (await manage<Channel>(stack, token, `GET /owner/alert-channels/${id}`)).body
const deliveriesOf = async (token: string, id: string) => {
  type Page = { deliveries: { kind: string; state: string; attempts: number; lastError: string | null }[] }
  return (await manage<Page>(stack, token, `GET /owner/alert-channels/${id}/deliveries`)).body.deliveries
}
const mailsTo = (address: string) => mail.received.filter(({ recipients }) => recipients.includes(address))
const subjectsTo = (address: string) => mailsTo(address).map(({ subject }) => subject)
const chatOf = (chatId: string) => bot.sent.filter((message) => message.chatId === chatId).map(({ text }) => text)
const startingWith = (texts: readonly (string | undefined)[], start: string) =>
  texts.filter((text) => text?.startsWith(start)).length

/** Where a link of the newest mail with this subject leads. */
async function linkIn(address: string, subject: string, label: string): Promise<string> {
  const find = () => mailsTo(address).findLast((one) => one.subject?.startsWith(subject))?.text
  await expect.poll(find, soon).toContain(label)
  const [, url = ''] = new RegExp(`${label}:\\s+(\\S+)`).exec(find() ?? '') ?? []
  expect(url).toMatch(new RegExp(`^${stack.gateway.url}/api/alert-links\\?token=`))
  return url
}

/** Calls until the sentinel has found it. */
async function runAway(budget: Budget): Promise<string> {
  const { grantId } = budget
  await callUntilRefused(agentOf(budget), shop.url)
  const found = async () => (await listIncidents(db, { grantId })).items.length
  await expect.poll(found, soon).toBe(1)
  const [incident] = (await listIncidents(db, { grantId })).items
  return incident?.id ?? ''
}

const incidentOf = async ({ grantId }: Budget) => (await listIncidents(db, { grantId })).items[0]

test('an owner is told once on each channel that an agent was stopped, reminded until it is acknowledged by link, and told that it is closed', {
  timeout,
}, async () => {
  const owner = await arrangeOwner()
  const { address } = await confirmedMail(owner)
  const { chatId } = await startedChat(owner)
  const incidentId = await runAway(owner.budget)

  await expect.poll(() => startingWith(subjectsTo(address), 'An agent was stopped'), soon).toBe(1)
  await expect.poll(() => startingWith(subjectsTo(address), 'The chain has stopped the agent'), soon).toBe(1)
  await expect.poll(() => startingWith(chatOf(chatId), 'The chain has stopped the agent'), soon).toBe(1)
  const opened = mailsTo(address).find((one) => one.subject?.startsWith('An agent was stopped'))
  expect(opened).toMatchObject({
    isSecure: true,
    user: credentials.user,
    from: { address: 'alerts@stream.example.com' },
  })
  for (const part of [opened?.text, opened?.html]) {
    expect(part).toContain(`It made ${mostCalls + 1} calls within a minute.`)
    expect(part).toContain(owner.budget.terms.sessionKey)
    expect(part).toContain('stop it for good')
  }
  expect(mailsTo(address).find((one) => one.subject?.startsWith('The chain'))?.text).toMatch(
    /On the chain it is frozen \(block \d+, transaction 0x[0-9a-f]{64}\)/,
  )

  // Reminded on both, until somebody says that they have seen it.
  await expect.poll(() => startingWith(subjectsTo(address), 'Reminder 1: '), soon).toBe(1)
  await expect.poll(() => startingWith(chatOf(chatId), 'Reminder 2: '), soon).toBe(1)
  const told = bot.sent.find((one) => one.chatId === chatId && one.text.startsWith('An agent was stopped'))
  expect(told?.buttons.map(({ text }) => text)).toEqual([
    'Look at it, and acknowledge',
    'This was me: let it go on',
    'Stop it for good',
  ])
  const [acknowledge, , reject] = told?.buttons.map(({ url }) => url) ?? []
  if (!acknowledge || !reject) throw new Error('There are no buttons.')
  expect((await fetch(acknowledge, { method: 'POST' })).status).toBe(200)
  expect((await fetch(acknowledge, { method: 'POST' })).status).toBe(410)
  expect(await incidentOf(owner.budget)).toMatchObject({ state: 'acknowledged' })
  await expect.poll(() => startingWith(subjectsTo(address), 'Acknowledged'), soon).toBe(1)
  await expect.poll(() => startingWith(chatOf(chatId), 'Acknowledged'), soon).toBe(1)

  // From the mail, the decision: once, and nothing else with the same link.
  const confirm = await linkIn(address, 'An agent was stopped', 'This was me: let it go on')
  const page = await fetch(confirm, { method: 'POST' })
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('Noted: it was you')])
  expect((await fetch(confirm, { method: 'POST' })).status).toBe(410)
  const decisions = await listDecisions(db, { incidentId })
  expect(decisions).toMatchObject([
    { decision: 'confirm', actor: `owner:${owner.budget.account.address.toLowerCase()}` },
  ])
  expect((await fetch(`${reject}x`, { method: 'POST' })).status).toBe(404)

  const closed = await manage(stack, stack.operatorApiKey, `POST /incidents/${incidentId}/close`, {
    note: 'Looked at.',
  })
  expect(closed.status).toBe(200)
  await expect.poll(() => startingWith(subjectsTo(address), 'Closed'), soon).toBe(1)
  await expect.poll(() => startingWith(chatOf(chatId), 'Closed'), soon).toBe(1)
  for (const one of ['An agent was stopped', 'The chain has stopped', 'Reminder 1: ', 'Acknowledged', 'Closed']) {
    expect(startingWith(subjectsTo(address), one), one).toBe(1)
    expect(startingWith(chatOf(chatId), one), one).toBe(1)
  }
})

test('what happens while mail server and Telegram are away is told when they are back, once, and stops nothing meanwhile', {
  timeout,
}, async () => {
  const owner = await arrangeOwner()
  const { id, address } = await confirmedMail(owner)
  const { channel, chatId } = await startedChat(owner)
  await Promise.all([mail.pause(), bot.pause()])
  try {
    await runAway(owner.budget)
    for (const of of [id, channel.id]) {
      const waits = async () =>
        (await deliveriesOf(owner.token, of)).find(({ kind }) => kind === 'opened' || kind === 'stopped')
      await expect.poll(waits, soon).toBeDefined()
      const tried = async () => (await deliveriesOf(owner.token, of)).find(({ kind }) => kind === 'opened')
      await expect.poll(tried, soon).toMatchObject({ state: 'pending', lastError: expect.any(String) })
    }
    // The grant is stopped all the same.
    const stopped = async () => (await deliveriesOf(owner.token, id)).some(({ kind }) => kind === 'stopped')
    await expect.poll(stopped, soon).toBe(true)
    const { notes } = (await (await fetch(`${stack.sentinel?.url}/ready`)).json()) as { notes: Record<string, string> }
    expect(Object.keys(notes)).toEqual(['email', 'telegram'])
  } finally {
    await Promise.all([mail.resume(), bot.resume()])
  }
  await expect.poll(() => startingWith(subjectsTo(address), 'The chain has stopped the agent'), soon).toBe(1)
  await expect.poll(() => startingWith(chatOf(chatId), 'The chain has stopped the agent'), soon).toBe(1)
  expect(startingWith(subjectsTo(address), 'An agent was stopped')).toBe(1)
  expect(startingWith(chatOf(chatId), 'An agent was stopped')).toBe(1)
})

test('Telegram is asked again when it says so (429), and a chat that blocked the bot (403) gets nothing more', {
  timeout,
}, async () => {
  const owner = await arrangeOwner()
  const { channel, chatId } = await startedChat(owner)
  const tell = () => manage(stack, owner.token, `POST /owner/alert-channels/${channel.id}/test`)
  let busy = 2
  bot.refuse = (to) =>
    to === chatId && busy-- > 0
      ? { status: 429, description: 'Too Many Requests: retry after 1', retryAfter: 1 }
      : undefined
  expect((await tell()).status).toBe(202)
  await expect.poll(() => startingWith(chatOf(chatId), 'Test:'), soon).toBe(1)
  // Written down after Telegram took it.
  await expect
    .poll(async () => (await deliveriesOf(owner.token, channel.id))[0], soon)
    .toMatchObject({ kind: 'test', state: 'delivered', attempts: 3 })

  bot.refuse = (to) =>
    to === chatId ? { status: 403, description: 'Forbidden: bot was blocked by the user' } : undefined
  expect((await tell()).status).toBe(202)
  await expect.poll(async () => (await channelOf(owner.token, channel.id)).state, soon).toBe('disabled')
  expect(await channelOf(owner.token, channel.id)).toMatchObject({ disabled: { reason: 'blocked' } })
  expect(await tell()).toMatchObject({ status: 409, body: { code: 'alert.channel_inactive' } })
  bot.refuse = () => undefined
  expect(startingWith(chatOf(chatId), 'Test:')).toBe(1)

  // Who blocks the bot, or writes /stop, is heard as well.
  const other = await startedChat(owner)
  bot.write(Number(other.chatId), '/stop')
  await expect.poll(() => chatOf(other.chatId).at(-1), soon).toBe('No more alerts come to this chat.')
  await expect
    .poll(() => channelOf(owner.token, other.channel.id), soon)
    .toMatchObject({ disabled: { reason: 'stopped' } })
})

test('a mail server that says later (4yz) is asked again, and an address that it refuses (5yz) gets nothing more', {
  timeout,
}, async () => {
  const owner = await arrangeOwner()
  const { id, address } = await confirmedMail(owner)
  const tell = () => manage(stack, owner.token, `POST /owner/alert-channels/${id}/test`)
  let busy = 1
  mail.refuse = (to) => (to === address && busy-- > 0 ? { code: 451, text: '4.7.1 Greylisted' } : undefined)
  expect((await tell()).status).toBe(202)
  await expect.poll(() => startingWith(subjectsTo(address), 'Test:'), soon).toBe(1)
  await expect
    .poll(async () => (await deliveriesOf(owner.token, id))[0], soon)
    .toMatchObject({ kind: 'test', state: 'delivered', attempts: 2 })

  mail.refuse = (to) => (to === address ? { code: 550, text: '5.1.1 No such user here' } : undefined)
  expect((await tell()).status).toBe(202)
  await expect.poll(async () => (await channelOf(owner.token, id)).state, soon).toBe('disabled')
  const { disabled } = await channelOf(owner.token, id)
  expect(disabled).toMatchObject({ reason: 'refused', detail: expect.stringContaining('5.1.1 No such user here') })
  mail.refuse = () => undefined
  expect(startingWith(subjectsTo(address), 'Test:')).toBe(1)
})
