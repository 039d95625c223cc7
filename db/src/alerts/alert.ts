import type { Address } from '@protocolbanks/stream-protocol'
import type { Severity } from '../sentinel/incidents.ts'

/** Whose something is: a merchant's, or that of an account's owner. Both null: the operator's. Never both. */
export type AlertHolder = { merchantId: string | null; account: Address | null }

export type AlertKind = 'email' | 'telegram'

/** Where somebody is told of incidents. */
export type AlertChannel = AlertHolder & {
  /** `ach_` and a sortable id. */
  id: string
  kind: AlertKind
  /** An e-mail address, or the id of a chat. Null: a chat that nobody has started yet. */
  target: string | null
  /** What matters less is not told here. */
  leastSeverity: Severity
  /** unverified: nothing is sent but what verifies it. disabled: nothing at all. */
  state: 'unverified' | 'active' | 'disabled'
  /**
   * refused: the receiving server takes no mail for the address. blocked: the bot may not write to the chat. gone: there is
   * no such chat. stopped: by hand, in the chat.
   */
  disabledReason: 'refused' | 'blocked' | 'gone' | 'stopped' | null
  /** In the words of who refused it. */
  disabledDetail: string | null
  createdAt: Date
  verifiedAt: Date | null
  disabledAt: Date | null
}

/** One message to one channel. */
export type AlertDelivery = AlertHolder & {
  /** `adl_` and a random id; `position` is their order. */
  id: string
  position: bigint
  channelId: string
  /** Null for what is about the channel itself: verify, verified, test. */
  incidentId: string | null
  kind: 'verify' | 'verified' | 'test' | 'opened' | 'repeated' | 'acknowledged' | 'stopped' | 'closed'
  /** Of several of a kind; 0 is the first. */
  number: number
  /** failed: given up. skipped: it had nothing to say any more. */
  state: 'pending' | 'delivered' | 'failed' | 'skipped'
  /** Tries begun. */
  attempts: number
  /** While it is sent: when another may take it over. Null at the end. */
  nextAttemptAt: Date | null
  lastError: string | null
  createdAt: Date
  endedAt: Date | null
}

/** acknowledge: I have seen it. confirm: it was me, let it go on. reject: stop it for good. verify: I want to be told. */
export type AlertLinkPurpose = 'verify' | 'acknowledge' | 'confirm' | 'reject'

/** What somebody may do once, by knowing a token. The token itself is not stored. */
export type AlertLink = {
  /** `lnk_` and a sortable id. */
  id: string
  channelId: string
  deliveryId: string | null
  incidentId: string | null
  purpose: AlertLinkPurpose
  createdAt: Date
  expiresAt: Date
  usedAt: Date | null
}
