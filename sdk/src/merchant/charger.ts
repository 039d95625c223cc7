import type { ChargesClient } from './chargesClient.ts'
import type { KeptAnswers } from './keptAnswers.ts'

/** What every middleware charges with. */
export type Charger = {
  client: ChargesClient
  service: string
  /** Price of one call in base units. */
  amountAtomic: bigint
  answers: KeptAnswers
  /** Calls that are being served, and those that broke off, by key. */
  open: Map<string, OpenCall>
  /** How long a retry waits for the first call to end. */
  retryWaitMs: number
  onError: (error: Error) => void
}

/** `broken` ones may be served once more without a charge. */
export type OpenCall = { state: 'serving' | 'broken'; wake: (() => void)[] }
