import type { Address } from '@protocolbanks/stream-protocol'

/** Whose something is: a merchant's, or that of an account's owner. Both null: the operator's. Never both. */
export type WebhookRecipient = { merchantId: string | null; account: Address | null }

/** Where somebody is told. The secrets are sealed: whoever signs opens them. */
export type WebhookEndpoint = WebhookRecipient & {
  /** `whep_` and a sortable id. */
  id: string
  url: string
  description: string | null
  /** Null: every type, those to come as well. */
  eventTypes: string[] | null
  state: 'enabled' | 'disabled'
  /**
   * merchant, owner, operator: by hand, by whose it is. failures: nothing was taken for as long as a delivery is tried.
   * gone: it answered 410.
   */
  disabledReason: 'merchant' | 'owner' | 'operator' | 'failures' | 'gone' | null
  disabledAt: Date | null
  /** The first try that failed since the last that succeeded. */
  failingSince: Date | null
  secret: string
  /** Signs beside `secret` until `previousSecretUntil`. */
  previousSecret: string | null
  previousSecretUntil: Date | null
  createdAt: Date
  updatedAt: Date
}

/** What happened, as the change wrote it: addresses lower-case, amounts decimal strings of base units. */
export type WebhookEvent = WebhookRecipient & {
  /** `whev_` and a sortable id; the same for every endpoint and every try. */
  id: string
  type: string
  data: Record<string, unknown>
  occurredAt: Date
}

/** One event at one endpoint. */
export type WebhookDelivery = WebhookRecipient & {
  /** `whdl_` and a sortable id. */
  id: string
  eventId: string
  endpointId: string
  /** pending: to be tried, or tried again. failed: given up. */
  state: 'pending' | 'delivered' | 'failed'
  /** Tries begun since the event, or since it was sent again by hand. */
  attempts: number
  maxAttempts: number
  firstAttemptAt: Date | null
  /** While it is tried: when another may take it over. Null at the end. */
  nextAttemptAt: Date | null
  endedAt: Date | null
  createdAt: Date
}

/** One try. `statusCode` is null when there was no answer, and `error` says why. */
export type WebhookAttempt = {
  startedAt: Date
  durationMs: number
  statusCode: number | null
  /** The beginning of the answer's body. */
  responseBody: string | null
  error: string | null
}
