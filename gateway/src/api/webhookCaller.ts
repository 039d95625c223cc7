import type { Tx, WebhookRecipient } from '@protocolbanks/stream-db'
import type { WebhookAudience } from '../webhooks/webhookEvents.ts'

/** Who manages endpoints of webhooks: a merchant or an owner their own, the operator all. */
export type WebhookCaller = WebhookRecipient & {
  audience: WebhookAudience
  actor: string
  /** One transaction that sees what this caller may see. */
  run<T>(work: (tx: Tx) => Promise<T>): Promise<T>
}
