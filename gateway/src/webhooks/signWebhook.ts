import { randomBytes } from 'node:crypto'
import { Webhook } from 'standardwebhooks'

/** 256 random bits, in the form of the Standard Webhooks specification: `whsec_` and base64. */
export function createWebhookSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`
}

/**
 * The headers of the Standard Webhooks specification. Several secrets give several signatures, of which a receiver needs
 * to know one.
 *
 * @param id the same for every try of an event
 * @param at of this try
 */
export function signWebhook(of: {
  id: string
  at: Date
  body: string
  secrets: readonly string[]
}): Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string> {
  const { id, at, body, secrets } = of
  return {
    'webhook-id': id,
    'webhook-timestamp': `${Math.floor(at.getTime() / 1_000)}`,
    'webhook-signature': secrets.map((secret) => new Webhook(secret).sign(id, at, body)).join(' '),
  }
}
