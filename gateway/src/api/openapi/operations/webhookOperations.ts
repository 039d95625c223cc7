import { z } from 'zod'
import { describe } from '../operation.ts'
import { address, anything, idSchema, moment, page, pageSchema, text } from '../parts.ts'

type Routes = Parameters<typeof describe>[0]

const endpointFields = {
  id: idSchema('whep'),
  merchantId: idSchema('mer').nullable(),
  account: address.nullable(),
  url: text,
  description: text.nullable(),
  events: z.array(text).nullable(),
  state: z.enum(['enabled', 'disabled']),
  disabledReason: z.enum(['merchant', 'owner', 'operator', 'failures', 'gone']).nullable(),
  disabledAt: moment.nullable(),
  failingSince: moment.nullable(),
  previousSecretUntil: moment.nullable(),
  createdAt: moment,
  updatedAt: moment,
}
const endpoint = z.strictObject(endpointFields).meta({ id: 'WebhookEndpoint' })
const withSecret = z.strictObject({ ...endpointFields, secret: text }).meta({ id: 'WebhookEndpointWithSecret' })
const deliveryFields = {
  id: idSchema('whdl'),
  eventId: idSchema('whev'),
  endpointId: idSchema('whep'),
  type: text,
  state: z.enum(['pending', 'delivered', 'failed']),
  attempts: z.int(),
  maxAttempts: z.int(),
  nextAttemptAt: moment.nullable(),
  endedAt: moment.nullable(),
  createdAt: moment,
}
const delivery = z.strictObject(deliveryFields).meta({ id: 'WebhookDelivery' })
const deliveryInFull = z
  .strictObject({
    ...deliveryFields,
    payload: anything,
    attemptLog: z.array(
      z.strictObject({
        startedAt: moment,
        durationMs: z.int(),
        statusCode: z.int().nullable(),
        responseBody: text.nullable(),
        error: text.nullable(),
      }),
    ),
  })
  .meta({ id: 'WebhookDeliveryInFull' })
const sent = z.strictObject({
  deliveryId: idSchema('whdl'),
  eventId: idSchema('whev'),
  endpointId: idSchema('whep'),
  state: z.literal('pending'),
})

type Schemas = { created: z.ZodType; changed: z.ZodType; rotated: z.ZodType; deliveries: z.ZodObject }

export function describeWebhooks(routes: Routes, of: Schemas): void {
  describe(routes, {
    'POST /': {
      id: 'createWebhook',
      summary: 'Makes an endpoint of webhooks. Its secret is in this answer, and nowhere else.',
      body: of.created,
      answers: { 201: withSecret },
      errors: ['merchant.unknown', 'webhook.url_refused', 'webhook.too_many', 'webhook.not_configured'],
    },
    'GET /': {
      id: 'listWebhooks',
      summary: 'Endpoints, newest first.',
      query: pageSchema,
      answers: { 200: page('webhooks', endpoint) },
    },
    'GET /:id': {
      id: 'getWebhook',
      summary: 'One endpoint.',
      answers: { 200: endpoint },
      errors: ['webhook.unknown'],
    },
    'PATCH /:id': {
      id: 'changeWebhook',
      summary: 'Changes an endpoint, or enables it again.',
      body: of.changed,
      answers: { 200: endpoint },
      errors: ['webhook.unknown', 'webhook.url_refused'],
    },
    'DELETE /:id': {
      id: 'deleteWebhook',
      summary: 'Deletes an endpoint with its deliveries.',
      answers: { 204: 'none' },
      errors: ['webhook.unknown'],
    },
    'POST /:id/rotate-secret': {
      id: 'rotateWebhookSecret',
      summary: 'Gives an endpoint another secret; the one of before signs beside it for a while.',
      body: of.rotated,
      answers: { 200: withSecret },
      errors: ['webhook.unknown', 'webhook.not_configured'],
    },
    'POST /:id/test': {
      id: 'testWebhook',
      summary: 'Sends a test, once.',
      answers: { 202: sent },
      errors: ['webhook.unknown', 'webhook.disabled', 'webhook.not_configured'],
    },
    'GET /:id/deliveries': {
      id: 'listWebhookDeliveries',
      summary: 'What was sent to an endpoint, newest first.',
      query: of.deliveries,
      answers: { 200: page('deliveries', delivery) },
      errors: ['webhook.unknown'],
    },
    'GET /:id/deliveries/:deliveryId': {
      id: 'getWebhookDelivery',
      summary: 'One delivery with its payload and every try.',
      answers: { 200: deliveryInFull },
      errors: ['webhook.delivery_unknown'],
    },
    'POST /:id/deliveries/:deliveryId/replay': {
      id: 'replayWebhookDelivery',
      summary: 'Sends the same event again.',
      answers: { 202: sent },
      errors: ['webhook.delivery_unknown', 'webhook.disabled', 'webhook.delivery_pending', 'webhook.not_configured'],
    },
  })
}

const channelFields = {
  id: idSchema('ach'),
  merchantId: idSchema('mer').nullable(),
  account: address.nullable(),
  kind: z.enum(['email', 'telegram']),
  address: text.nullable(),
  leastSeverity: z.enum(['info', 'warning', 'critical']),
  state: z.enum(['unverified', 'active', 'disabled']),
  createdAt: moment,
  verifiedAt: moment.nullable(),
  disabled: z.strictObject({ reason: text, detail: text.nullable(), at: moment.nullable() }).nullable(),
}
const channel = z.strictObject(channelFields).meta({ id: 'AlertChannel' })
const toConfirm = z
  .strictObject({ ...channelFields, startUrl: text.optional(), startUrlExpiresAt: moment.optional() })
  .meta({ id: 'AlertChannelToConfirm' })
const alertDelivery = z
  .strictObject({
    id: text,
    channelId: idSchema('ach'),
    incidentId: idSchema('inc').nullable(),
    kind: z.enum(['verify', 'verified', 'test', 'opened', 'repeated', 'acknowledged', 'stopped', 'closed']),
    number: z.int(),
    state: z.enum(['pending', 'delivered', 'failed', 'skipped']),
    attempts: z.int(),
    nextAttemptAt: moment.nullable(),
    lastError: text.nullable(),
    createdAt: moment,
    endedAt: moment.nullable(),
  })
  .meta({ id: 'AlertDelivery' })

export function describeAlerts(routes: Routes, of: { created: z.ZodType }): void {
  describe(routes, {
    'POST /': {
      id: 'createAlertChannel',
      summary: 'Makes a channel of alerts, which who reads there has to confirm.',
      body: of.created,
      answers: { 201: toConfirm },
      errors: [
        'merchant.unknown',
        'alert.too_many_channels',
        'alert.channel_exists',
        'alert.verification_limit',
        'alert.not_configured',
        'owner.rate_limited',
      ],
    },
    'GET /': {
      id: 'listAlertChannels',
      summary: 'Channels, newest first.',
      query: pageSchema,
      answers: { 200: page('channels', channel) },
    },
    'GET /:id': {
      id: 'getAlertChannel',
      summary: 'One channel.',
      answers: { 200: channel },
      errors: ['alert.channel_unknown'],
    },
    'DELETE /:id': {
      id: 'deleteAlertChannel',
      summary: 'Deletes a channel.',
      answers: { 204: 'none' },
      errors: ['alert.channel_unknown'],
    },
    'POST /:id/test': {
      id: 'testAlertChannel',
      summary: 'Sends a message that says that it is a test.',
      answers: { 202: alertDelivery },
      errors: ['alert.channel_unknown', 'alert.channel_inactive', 'alert.not_configured', 'owner.rate_limited'],
    },
    'POST /:id/verification': {
      id: 'verifyAlertChannel',
      summary: 'Asks an address again, or makes another link to start the chat with.',
      answers: { 202: toConfirm },
      errors: [
        'alert.channel_unknown',
        'alert.channel_verified',
        'alert.verification_limit',
        'alert.not_configured',
        'owner.rate_limited',
      ],
    },
    'GET /:id/deliveries': {
      id: 'listAlertDeliveries',
      summary: 'What was sent to a channel, newest first.',
      query: pageSchema,
      answers: { 200: page('deliveries', alertDelivery) },
      errors: ['alert.channel_unknown'],
    },
  })
}

export function describeAlertLinks(routes: Routes): void {
  describe(routes, {
    'GET /': {
      id: 'showAlertLink',
      summary: 'The page of a link in an alert (`?token=`). It changes nothing; 404 and 410 are pages too.',
      answers: { 200: 'text/html', 404: 'text/html', 410: 'text/html' },
      errors: ['owner.rate_limited'],
    },
    'POST /': {
      id: 'useAlertLink',
      summary: 'Does what the page says, once.',
      answers: { 200: 'text/html', 404: 'text/html', 410: 'text/html' },
      errors: ['owner.rate_limited'],
    },
  })
}
