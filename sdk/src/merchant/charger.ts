import type { ChargesClient } from './chargesClient.ts'
import type { KeptAnswers } from './keptAnswers.ts'
import type { MeteredCall } from './meteredCall.ts'
import type { PriceOf } from './price.ts'

/** What every middleware charges with. */
export type Charger = {
  client: ChargesClient
  service: string
  priceOf: PriceOf
  answers: KeptAnswers
  /** Calls that are being served, and those that broke off, by key. */
  open: Map<string, OpenCall>
  /** How long a retry waits for the first call to end. */
  retryWaitMs: number
  /** Calls of what is priced by use, by the request object that their handler sees. */
  metered: WeakMap<object, Pick<MeteredCall, 'report'>>
  /** How long a stream waits for its next voucher. */
  graceMs: number
  /** Streams that wait for one, by request id: called when it came by here. */
  vouchers: Map<string, () => void>
  /** Milliseconds that never go back. */
  now(): number
  onError: (error: Error) => void
}

/** `broken` ones may be served once more without a charge. */
export type OpenCall = { state: 'serving' | 'broken'; wake: (() => void)[] }
