import { createHmac } from 'node:crypto'
import type { AlertLinkPurpose } from '@protocolbanks/stream-db'

/** Makes the links of messages: the same for every try of a message, and nobody's without the secret. */
export type AlertTokens = {
  /** 256 bits in base64url. */
  tokenOf(deliveryId: string, purpose: AlertLinkPurpose): string
  urlOf(token: string): string
}

/**
 * A token is HMAC-SHA256 (RFC 2104) over the message and the purpose. It is in the query, which no log or trace of ours has.
 *
 * @example createAlertTokens({ secret, publicUrl: 'https://pay.example.com' })
 */
export function createAlertTokens({ secret, publicUrl }: { secret: string; publicUrl: string }): AlertTokens {
  return {
    tokenOf: (deliveryId, purpose) =>
      createHmac('sha256', secret).update(`stream.alert_link\n${purpose}\n${deliveryId}`).digest('base64url'),
    urlOf(token) {
      const url = new URL('/api/alert-links', publicUrl)
      url.searchParams.set('token', token)
      return url.href
    },
  }
}
