import { type AlertLinkUse, type Db, findAlertLink, readAlertFacts, useAlertLink } from '@protocolbanks/stream-db'
import { type Context, Hono } from 'hono'
import type { Logger } from 'pino'
import type { RateLimit } from '../owners/rateLimit.ts'
import { alertLinkPage, pageHeaders } from './alertLinkPage.ts'
import { endedPage, outcomePage, questionPage } from './alertLinkTexts.ts'
import { writeRefusal } from './auditRefusals.ts'
import { describeAlertLinks } from './openapi/operations/webhookOperations.ts'
import { takeOne } from './takeOne.ts'

export type AlertLinkRoutesDeps = {
  db: Db
  clock(): number
  logger: Logger
  tokenDecimals: number
  /** Of one client. */
  limit: RateLimit
  clientOf(c: Context): string
}

const codes = {
  used: 'alert.link_used',
  expired: 'alert.link_expired',
  unknown: 'alert.link_unknown',
} as const satisfies Record<Exclude<AlertLinkUse['state'], 'done'>, string>

/**
 * Where links in alerts lead. GET shows what the link does and changes nothing: scanners of mail open links. The page's
 * button sends POST, which does it, once. Who has the token may: nobody signs in. Links that were used, have expired or
 * are not known say so, change nothing, and are audited. The token is in the query, which is neither logged nor traced.
 */
export function createAlertLinkRoutes(deps: AlertLinkRoutesDeps): Hono {
  const { db, clock, logger, tokenDecimals, limit, clientOf } = deps
  const routes = new Hono()
  const now = () => new Date(clock())

  routes.use(async (c, next) => {
    takeOne(limit, clientOf(c))
    return next()
  })

  routes.get('/', async (c) => {
    const token = c.req.query('token') ?? ''
    const found = await findAlertLink(db, {
      token,
      purposes: ['verify', 'acknowledge', 'confirm', 'reject'],
      now: now(),
    })
    if (!found || (found.link.purpose === 'verify' && found.channel.kind !== 'email'))
      return refuse(c, { state: 'unknown' })
    const { link, channel, state } = found
    if (state !== 'open') return refuse(c, { state, link })
    const { incidentId } = link
    const { merchantId } = channel
    const facts = incidentId === null ? undefined : await readAlertFacts(db, { incidentId, merchantId })
    return show(c, 200, questionPage(found, facts, tokenDecimals))
  })

  routes.post('/', async (c) => {
    const used = await useAlertLink(db, { token: c.req.query('token') ?? '', now: now() })
    return used.state === 'done' ? show(c, 200, outcomePage(used)) : refuse(c, used)
  })

  async function refuse(c: Context, use: Exclude<AlertLinkUse, { state: 'done' }>): Promise<Response> {
    const link = use.state === 'unknown' ? undefined : use.link
    const subject = link ? (link.incidentId ?? link.channelId) : 'unknown'
    const action = link ? `alert_link_${link.purpose}` : 'alert_link'
    const actor = link ? `alert:${link.channelId}` : 'alert-link'
    await writeRefusal({ db, logger }, { actor, action, subject, errorCode: codes[use.state] })
    return show(c, use.state === 'unknown' ? 404 : 410, endedPage(use))
  }

  function show(c: Context, status: 200 | 404 | 410, page: Parameters<typeof alertLinkPage>[0]) {
    return c.html(alertLinkPage(page), status, pageHeaders)
  }

  describeAlertLinks(routes)
  return routes
}
