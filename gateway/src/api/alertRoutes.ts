import { randomBytes } from 'node:crypto'
import {
  type AlertChannel,
  appendAudit,
  askAlertChannelAgain,
  createAlertChannel,
  type Db,
  deleteAlertChannel,
  getAlertChannel,
  getMerchant,
  listAlertChannels,
  listAlertDeliveries,
  listAlertSenders,
  maxAlertChannels,
  maxVerificationsOfHolder,
  maxVerificationsPerDay,
  putAlertLink,
  queueForChannel,
  type WebhookRecipient,
  withService,
} from '@protocolbanks/stream-db'
import { type Context, type Env, Hono } from 'hono'
import { z } from 'zod'
import type { RateLimit } from '../owners/rateLimit.ts'
import { alertRefusals, assertActive, unknownChannel, viewAlertDelivery, viewChannel } from './alertAnswers.ts'
import { unknownMerchant } from './merchantRoutes.ts'
import { describeAlerts } from './openapi/operations/webhookOperations.ts'
import { idOf, pageSchema } from './schemas.ts'
import { takeOne } from './takeOne.ts'
import { validBody, validQuery } from './validate.ts'
import type { WebhookCaller } from './webhookCaller.ts'

export type AlertRoutesDeps<E extends Env> = {
  db: Db
  clock(): number
  /** Of what one holder changes. */
  changes: RateLimit
  /** Who asks. */
  callerOf(c: Context<E>): WebhookCaller
}

const startLinkMs = 86_400_000
const bounds = { maxAlertChannels, maxVerificationsPerDay, maxVerificationsOfHolder }

const common = {
  /** What matters less is not told there. */
  leastSeverity: z.enum(['info', 'warning', 'critical']).default('info'),
  /** For the operator: whose channel. Left out or null it is the operator's own. Others have their own. */
  merchantId: z.string().max(80).nullish(),
}
/** One address as people write it, in ASCII: no name, no list, no line break (RFC 5321, 4.5.3.1: at most 254 bytes). */
const emailSchema = z.string().max(254).pipe(z.email())
const newChannelSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('email'), address: emailSchema, ...common }),
  z.strictObject({ kind: z.literal('telegram'), ...common }),
])

/**
 * Where somebody is told of incidents, beside webhooks: e-mail addresses and chats. Each is confirmed by who reads there
 * before anything else is sent to it. The sentinel sends; see docs/alerts.md.
 */
export function createAlertRoutes<E extends Env>({ db, clock, changes, callerOf }: AlertRoutesDeps<E>): Hono<E> {
  const routes = new Hono<E>()
  const now = () => new Date(clock())

  routes.post('/', async (c) => {
    const caller = callerOf(c)
    const wanted = await validBody(c, newChannelSchema)
    const holder = await holderOf(caller, wanted.merchantId ?? null)
    if (!holder) return unknownMerchant(wanted.merchantId ?? '')
    takeOne(changes, keyOf(holder))
    const sender = await senderOf(wanted.kind)
    const start = wanted.kind === 'telegram' ? newStart(sender) : undefined
    const to = start
      ? { kind: 'telegram' as const, startToken: start.token, expiresAt: start.expiresAt }
      : { kind: 'email' as const, target: wanted.kind === 'email' ? wanted.address : '' }
    const channel = await withService(db, async (tx) => {
      const made = await createAlertChannel(tx, { ...holder, ...to, leastSeverity: wanted.leastSeverity, now: now() })
      if (typeof made !== 'string') await audit(tx, caller, 'alert_channel_create', made)
      return made
    })
    if (typeof channel === 'string') throw alertRefusals[channel](bounds)
    const location = new URL(`${c.req.path.replace(/\/$/, '')}/${channel.id}`, 'http://local').pathname
    return c.json({ ...viewChannel(channel), ...viewStart(start) }, 201, { location })
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const { items, nextCursor } = await callerOf(c).run((queryable) => listAlertChannels(queryable, page))
    return c.json({ channels: items.map(viewChannel), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const channel = await find(c)
    return channel ? c.json(viewChannel(channel)) : unknownChannel(c.req.param('id'))
  })

  routes.delete('/:id', async (c) => {
    const caller = callerOf(c)
    const channel = await find(c)
    if (!channel) return unknownChannel(c.req.param('id'))
    await withService(db, async (tx) => {
      if (await deleteAlertChannel(tx, channel.id)) await audit(tx, caller, 'alert_channel_delete', channel)
    })
    return c.body(null, 204)
  })

  /** A message that says that it is a test. */
  routes.post('/:id/test', async (c) => {
    const channel = await find(c)
    if (!channel) return unknownChannel(c.req.param('id'))
    takeOne(changes, keyOf(channel))
    assertActive(channel)
    await senderOf(channel.kind)
    const delivery = await withService(db, async (tx) => {
      await audit(tx, callerOf(c), 'alert_channel_test', channel)
      return queueForChannel(tx, channel, 'test', now())
    })
    return c.json(viewAlertDelivery(delivery), 202)
  })

  /** Asks an address again, or makes another link to start the chat with. */
  routes.post('/:id/verification', async (c) => {
    const channel = await find(c)
    if (!channel) return unknownChannel(c.req.param('id'))
    takeOne(changes, keyOf(channel))
    if (channel.state !== 'unverified') throw alertRefusals.verified(channel)
    const sender = await senderOf(channel.kind)
    if (channel.kind === 'telegram') {
      const start = newStart(sender)
      const { token, expiresAt } = start
      const link = { channelId: channel.id, deliveryId: null, incidentId: null, purpose: 'verify' } as const
      await withService(db, async (tx) => {
        await audit(tx, callerOf(c), 'alert_channel_verify', channel)
        await putAlertLink(tx, { ...link, token, expiresAt, now: now() })
      })
      return c.json({ ...viewChannel(channel), ...viewStart(start) }, 202)
    }
    const isAsked = await withService(db, async (tx) => {
      if (!(await askAlertChannelAgain(tx, { ...channel, target: channel.target ?? '' }, now()))) return false
      await audit(tx, callerOf(c), 'alert_channel_verify', channel)
      return true
    })
    if (!isAsked) throw alertRefusals.asked(bounds)
    return c.json(viewChannel(channel), 202)
  })

  routes.get('/:id/deliveries', async (c) => {
    const filter = validQuery(c, pageSchema)
    const id = idOf('ach', c.req.param('id'))
    const page =
      id &&
      (await callerOf(c).run(async (queryable) => {
        if (!(await getAlertChannel(queryable, id))) return undefined
        return listAlertDeliveries(queryable, { ...filter, channelId: id })
      }))
    if (!page) return unknownChannel(c.req.param('id'))
    return c.json({ deliveries: page.items.map(viewAlertDelivery), nextCursor: page.nextCursor })
  })

  function find(c: Context<E, '/:id'>): Promise<AlertChannel | undefined> | undefined {
    const id = idOf('ach', c.req.param('id'))
    return id === undefined ? undefined : callerOf(c).run((queryable) => getAlertChannel(queryable, id))
  }

  /** Whose a new channel is; undefined when there is no such merchant for this caller. */
  async function holderOf(caller: WebhookCaller, wanted: string | null): Promise<WebhookRecipient | undefined> {
    const { audience, merchantId, account } = caller
    if (audience !== 'operator') return wanted === null || wanted === merchantId ? { merchantId, account } : undefined
    if (wanted === null) return { merchantId: null, account: null }
    const id = idOf('mer', wanted)
    return id && (await getMerchant(db, id)) ? { merchantId: id, account: null } : undefined
  }

  /** From whom it is sent. @throws ApiRefusal 501 when no sentinel of this deployment sends this kind */
  async function senderOf(kind: AlertChannel['kind']): Promise<string> {
    const sender = (await listAlertSenders(db)).find((one) => one.kind === kind)
    if (sender?.configured && sender.sender !== null) return sender.sender
    throw alertRefusals.notConfigured(kind, sender)
  }

  function newStart(bot: string) {
    const token = randomBytes(32).toString('base64url')
    return { token, url: `https://t.me/${bot}?start=${token}`, expiresAt: new Date(clock() + startLinkMs) }
  }

  describeAlerts(routes, { created: newChannelSchema })
  return routes
}

type Start = { url: string; expiresAt: Date }

/** The link is shown once. */
function viewStart(start: Start | undefined) {
  return start && { startUrl: start.url, startUrlExpiresAt: start.expiresAt }
}

function keyOf({ account, merchantId }: WebhookRecipient): string {
  return account ?? merchantId ?? 'operator'
}

async function audit(
  tx: Parameters<typeof appendAudit>[0],
  { actor }: WebhookCaller,
  action: string,
  { id, kind, merchantId, account, leastSeverity }: AlertChannel,
): Promise<void> {
  const entry = { actor, action, subject: id, note: null }
  const channel = { kind, merchantId, account, leastSeverity }
  const isGone = action === 'alert_channel_delete'
  await appendAudit(tx, { ...entry, before: isGone ? channel : null, after: isGone ? null : channel })
}
