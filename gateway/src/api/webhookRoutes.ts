import {
  createTestDelivery,
  createWebhookEndpoint,
  type Db,
  deleteWebhookEndpoint,
  getMerchant,
  getWebhookDelivery,
  getWebhookEndpoint,
  listWebhookDeliveries,
  listWebhookEndpoints,
  maxWebhookEndpoints,
  replayWebhookDelivery,
  rotateWebhookSecret,
  updateWebhookEndpoint,
  type WebhookRecipient,
} from '@protocolbanks/stream-db'
import { type Context, type Env, Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { type EndpointUrl, maxUrlLength } from '../webhooks/endpointUrl.ts'
import { maxAttempts } from '../webhooks/judgeAttempt.ts'
import type { SecretBox } from '../webhooks/secretBox.ts'
import { createWebhookSecret } from '../webhooks/signWebhook.ts'
import { audienceOf, testEventType, toWebhookPayload } from '../webhooks/webhookEvents.ts'
import { ApiRefusal } from './apiProblem.ts'
import { writeRefusal } from './auditRefusals.ts'
import { unknownMerchant } from './merchantRoutes.ts'
import { describeWebhooks } from './openapi/operations/webhookOperations.ts'
import { idOf, nameSchema, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'
import {
  assertEnabled,
  assertTypes,
  unknownDelivery,
  unknownEndpoint,
  viewDelivery,
  viewEndpoint,
} from './webhookAnswers.ts'
import type { WebhookCaller } from './webhookCaller.ts'

export type WebhookRoutesDeps<E extends Env> = {
  db: Db
  clock(): number
  logger: Logger
  /** Undefined: nothing can be signed, and endpoints cannot be made. */
  secrets: SecretBox | undefined
  /** Whether an endpoint may have this URL. */
  checkUrl(url: string): Promise<EndpointUrl>
  /** Who asks. */
  callerOf(c: Context<E>): WebhookCaller
}

const maxOverlapSeconds = 7 * 86_400

const fields = z.strictObject({
  url: z.string().min(1).max(maxUrlLength),
  description: nameSchema.nullish(),
  /** Left out or null: every type, those to come as well. Which there are depends on whose endpoint it is. */
  events: z
    .array(z.string().max(100))
    .min(1)
    .max(100)
    .transform((types) => [...new Set(types)])
    .nullish(),
})
/** `merchantId` is for the operator: whose endpoint. Left out or null it is the operator's own. Others have their own. */
const newEndpointSchema = fields.extend({ merchantId: z.string().max(80).nullish() })
const changeSchema = fields
  .extend({ enabled: z.boolean() })
  .partial()
  .refine((change) => Object.keys(change).length > 0, 'must change something')
const rotationSchema = z
  .strictObject({
    /** How long the secret of before goes on signing beside the new one; a day by default, a week at most. */
    overlapSeconds: z.int().min(0).max(maxOverlapSeconds).default(86_400),
  })
  .default({ overlapSeconds: 86_400 })
const listSchema = pageSchema.extend({ state: z.enum(['pending', 'delivered', 'failed']).optional() })

/**
 * Where somebody is told what happened, and what was sent there. An endpoint's secret is in the answer that makes it,
 * and nowhere else. Events and their payloads: docs/webhooks.md.
 */
export function createWebhookRoutes<E extends Env>(deps: WebhookRoutesDeps<E>): Hono<E> {
  const { db, clock, logger, secrets, checkUrl, callerOf } = deps
  const routes = new Hono<E>()

  routes.post('/', async (c) => {
    const caller = callerOf(c)
    const { url, merchantId, description, events } = await validBody(c, newEndpointSchema)
    const recipient = await recipientOf(caller, merchantId ?? null)
    if (!recipient) return unknownMerchant(merchantId ?? '')
    assertTypes(audienceOf(recipient), events)
    const box = boxOf()
    const allowed = await allowedUrl(url, caller, recipient.merchantId ?? recipient.account ?? 'operator')
    const secret = createWebhookSecret()
    const endpoint = await caller.run((queryable) =>
      createWebhookEndpoint(queryable, {
        ...recipient,
        url: allowed,
        description,
        eventTypes: events,
        sealSecret: (id) => box.seal(secret, id),
      }),
    )
    if (!endpoint) {
      return problem(409, 'webhook.too_many', 'There are as many endpoints as there may be.', {
        detail: `Endpoints: ${maxWebhookEndpoints}`,
        hint: 'Delete one that is not needed, or change its URL.',
      })
    }
    return c.json({ ...viewEndpoint(endpoint), secret }, 201, { location: `/api/webhooks/${endpoint.id}` })
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const { items, nextCursor } = await callerOf(c).run((queryable) => listWebhookEndpoints(queryable, page))
    return c.json({ webhooks: items.map(viewEndpoint), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const id = idOf('whep', c.req.param('id'))
    const endpoint = id && (await callerOf(c).run((queryable) => getWebhookEndpoint(queryable, id)))
    return endpoint ? c.json(viewEndpoint(endpoint)) : unknownEndpoint(c.req.param('id'))
  })

  routes.patch('/:id', async (c) => {
    const id = idOf('whep', c.req.param('id'))
    const { url, events, ...change } = await validBody(c, changeSchema)
    const caller = callerOf(c)
    const allowed = url === undefined ? {} : { url: await allowedUrl(url, caller, id ?? 'none') }
    const eventTypes = events === undefined ? {} : { eventTypes: events }
    const endpoint =
      id &&
      (await caller.run(async (queryable) => {
        const found = events && (await getWebhookEndpoint(queryable, id))
        if (found) assertTypes(audienceOf(found), events)
        return updateWebhookEndpoint(queryable, id, { ...change, ...allowed, ...eventTypes })
      }))
    return endpoint ? c.json(viewEndpoint(endpoint)) : unknownEndpoint(c.req.param('id'))
  })

  routes.delete('/:id', async (c) => {
    const id = idOf('whep', c.req.param('id'))
    const deleted = id && (await callerOf(c).run((queryable) => deleteWebhookEndpoint(queryable, id)))
    return deleted ? c.body(null, 204) : unknownEndpoint(c.req.param('id'))
  })

  routes.post('/:id/rotate-secret', async (c) => {
    const id = idOf('whep', c.req.param('id'))
    const { overlapSeconds } = await validBody(c, rotationSchema)
    const box = boxOf()
    const secret = createWebhookSecret()
    const previousUntil = new Date(clock() + overlapSeconds * 1_000)
    const endpoint =
      id &&
      (await callerOf(c).run((queryable) =>
        rotateWebhookSecret(queryable, { id, secret: box.seal(secret, id), previousUntil }),
      ))
    return endpoint ? c.json({ ...viewEndpoint(endpoint), secret }) : unknownEndpoint(c.req.param('id'))
  })

  /** Sent once, to this endpoint alone, whatever types it wants. */
  routes.post('/:id/test', async (c) => {
    const id = idOf('whep', c.req.param('id'))
    boxOf()
    const sent =
      id &&
      (await callerOf(c).run(async (queryable) => {
        const endpoint = await getWebhookEndpoint(queryable, id)
        if (!endpoint) return undefined
        assertEnabled(endpoint)
        const { merchantId, account } = endpoint
        const now = new Date(clock())
        return createTestDelivery(queryable, { endpointId: id, merchantId, account, type: testEventType, now })
      }))
    return sent ? c.json({ ...sent, endpointId: id, state: 'pending' }, 202) : unknownEndpoint(c.req.param('id'))
  })

  routes.get('/:id/deliveries', async (c) => {
    const id = idOf('whep', c.req.param('id'))
    const filter = validQuery(c, listSchema)
    const page =
      id &&
      (await callerOf(c).run(async (queryable) => {
        if (!(await getWebhookEndpoint(queryable, id))) return undefined
        return listWebhookDeliveries(queryable, { ...filter, endpointId: id })
      }))
    if (!page) return unknownEndpoint(c.req.param('id'))
    return c.json({ deliveries: page.items.map(viewDelivery), nextCursor: page.nextCursor })
  })

  routes.get('/:id/deliveries/:deliveryId', async (c) => {
    const found = await callerOf(c).run(async (queryable) => {
      const ids = idsOf(c.req.param())
      return ids && getWebhookDelivery(queryable, ids)
    })
    if (!found) return unknownDelivery(c.req.param('deliveryId'))
    return c.json({
      ...viewDelivery(found),
      payload: toWebhookPayload(found.event),
      attemptLog: found.attempts,
    })
  })

  /** The same event under the same id, with all its tries ahead. */
  routes.post('/:id/deliveries/:deliveryId/replay', async (c) => {
    const ids = idsOf(c.req.param())
    boxOf()
    const replayed =
      ids &&
      (await callerOf(c).run(async (queryable) => {
        const found = await getWebhookDelivery(queryable, ids)
        const endpoint = found && (await getWebhookEndpoint(queryable, ids.endpointId))
        if (!endpoint) return undefined
        assertEnabled(endpoint)
        const tries = found.event.type === testEventType ? 1 : maxAttempts
        const now = new Date(clock())
        if (await replayWebhookDelivery(queryable, { id: ids.id, maxAttempts: tries, now })) return found.event.id
        throw new ApiRefusal(409, 'webhook.delivery_pending', 'The event is waiting to be sent already.', {
          detail: `Delivery: ${ids.id}. Next try: ${found.delivery.nextAttemptAt?.toISOString() ?? 'now'}.`,
          hint: 'Look at the delivery again when it has come to an end.',
        })
      }))
    if (!replayed) return unknownDelivery(c.req.param('deliveryId'))
    return c.json({ deliveryId: ids?.id, eventId: replayed, endpointId: ids?.endpointId, state: 'pending' }, 202)
  })

  /** Whose a new endpoint is; undefined when there is no such merchant for this caller. */
  async function recipientOf(caller: WebhookCaller, wanted: string | null): Promise<WebhookRecipient | undefined> {
    const { audience, merchantId, account } = caller
    if (audience !== 'operator') return wanted === null || wanted === merchantId ? { merchantId, account } : undefined
    if (wanted === null) return { merchantId: null, account: null }
    const id = idOf('mer', wanted)
    return id && (await getMerchant(db, id)) ? { merchantId: id, account: null } : undefined
  }

  function boxOf(): SecretBox {
    if (secrets) return secrets
    throw new ApiRefusal(501, 'webhook.not_configured', 'This gateway sends no webhooks.', {
      hint: 'The operator has to set WEBHOOK_ENCRYPTION_KEYS.',
    })
  }

  /** @throws ApiRefusal 422, audited */
  async function allowedUrl(text: string, { actor }: WebhookCaller, subject: string): Promise<string> {
    const checked = await checkUrl(text)
    if (checked.ok) return checked.url.href
    const errorCode = 'webhook.url_refused'
    await writeRefusal({ db, logger }, { actor, action: 'webhook_url', subject, errorCode })
    throw new ApiRefusal(422, errorCode, 'Webhooks cannot be sent to this URL.', {
      detail: checked.reason,
      hint: 'Use an https:// URL whose host is on the public internet.',
    })
  }

  describeWebhooks(routes, {
    created: newEndpointSchema,
    changed: changeSchema,
    rotated: rotationSchema,
    deliveries: listSchema,
  })
  return routes
}

function idsOf({ id = '', deliveryId = '' }: Record<string, string>): { id: string; endpointId: string } | undefined {
  const endpoint = idOf('whep', id)
  const delivery = idOf('whdl', deliveryId)
  return endpoint && delivery ? { id: delivery, endpointId: endpoint } : undefined
}
