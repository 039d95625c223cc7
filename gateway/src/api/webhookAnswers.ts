import type { WebhookDelivery, WebhookEndpoint, WebhookEvent } from '@protocolbanks/stream-db'
import { problem } from '../problem.ts'
import { type WebhookAudience, webhookEventTypes } from '../webhooks/webhookEvents.ts'
import { ApiRefusal } from './apiProblem.ts'

// What the routes of webhooks show, and how they refuse.

/** Refuses types that whose endpoint it is are not told of. @throws ApiRefusal 400 */
export function assertTypes(audience: WebhookAudience, types: readonly string[] | null | undefined): void {
  const known = webhookEventTypes[audience]
  const unknown = types?.filter((type) => !known.includes(type)) ?? []
  if (unknown.length === 0) return
  throw new ApiRefusal(400, 'request.invalid', 'The request is not valid.', {
    detail: `events: ${unknown.slice(0, 5).join(', ')}: there is no such event for this endpoint`,
    hint: `There are: ${known.join(', ')}`,
  })
}

/** @throws ApiRefusal 409: nothing is sent to a disabled endpoint */
export function assertEnabled({ id, state, disabledReason }: WebhookEndpoint): void {
  if (state === 'enabled') return
  throw new ApiRefusal(409, 'webhook.disabled', 'The endpoint is disabled.', {
    detail: `Endpoint: ${id}. Reason: ${disabledReason}.`,
    hint: 'Enable it first: PATCH it with {"enabled":true}.',
  })
}

export function unknownEndpoint(id: string): Response {
  return problem(404, 'webhook.unknown', 'There is no such endpoint of webhooks.', {
    detail: `Endpoint: ${id.slice(0, 80)}`,
  })
}

export function unknownDelivery(id: string): Response {
  return problem(404, 'webhook.delivery_unknown', 'There is no such delivery at this endpoint.', {
    detail: `Delivery: ${id.slice(0, 80)}`,
    hint: 'Deliveries are kept for 30 days, unless the operator says otherwise.',
  })
}

/** Without the secrets, sealed as they are. */
export function viewEndpoint({ secret: _, previousSecret: __, eventTypes, ...endpoint }: WebhookEndpoint) {
  return { ...endpoint, events: eventTypes }
}

/** Without who has it in hand. */
export function viewDelivery({ delivery, event }: { delivery: WebhookDelivery; event: WebhookEvent }) {
  const { id, eventId, endpointId, state, attempts, maxAttempts, nextAttemptAt, endedAt, createdAt } = delivery
  return { id, eventId, endpointId, type: event.type, state, attempts, maxAttempts, nextAttemptAt, endedAt, createdAt }
}
