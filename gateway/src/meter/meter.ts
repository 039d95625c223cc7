import type { SpendingLimits } from '@protocolbanks/stream-db'
import type { Address, GrantSource, Hex } from '@protocolbanks/stream-protocol'

export type { SpendingLimits }

/** Counters are integers the Lua of Redis holds exactly. Nine billion USDC. Higher limits and vouchers count as this. */
export const maxMeterAmount = 2n ** 53n - 1n

/**
 * What was charged, live. The authority for it: everything else about a grant in here is a copy of the chain or of
 * Postgres and can be rebuilt (see docs/architecture.md).
 */
export type Meter = {
  /** Which implementation this is, for the demo's table and metrics. */
  readonly kind: 'redis' | 'embedded'
  /**
   * One atomic step: decides, charges, remembers the request id, appends the usage event. One round trip on Redis.
   *
   * @throws MeterUnavailableError when the store does not answer in time, `MeterFullError` (one of them) when too many
   * events wait for the journal. Nothing is charged then; what the store did unseen is taken back when it answers again.
   */
  charge(use: Use): Promise<Decision>
  /** The request of this ticket was served: its usage event may be journalled. Local bookkeeping, never fails. */
  served(ticket: Ticket): void
  /**
   * Charges `amount` (0 to the ticket's amount) instead of the whole, once; zero is a release, after which the request
   * id is unused again. `capture.too_late` once the writer of the journal has read the event, or another process adopted
   * the request: then the whole charge stands. A capture is the outcome of the request: `served` need not follow.
   */
  capture(ticket: Ticket, amount: bigint): Promise<CaptureResult>
  /** Takes over a charged request whose process is gone, so that one retry may be served free. False when lost. */
  adopt(request: { account: Address; grantId: Hex; payee: Address; requestId: string; from: string }): Promise<boolean>
  /**
   * Copies the chain's state of an account, and Postgres' of its channels, into the meter. Counters never go back.
   * Grants and channels that are not named stay as they are. A store that lost everything answers `grant.unknown` until
   * this is called. A grant that has ended, owes nothing and is journalled leaves the store after a day, and so does the account
   * when all its grants have.
   */
  mirror(state: AccountState): Promise<void>
  /**
   * Refuses a grant from the answer on, as frozen, until its account is mirrored again: the shortest way, and no record. False
   * when the meter does not know it.
   */
  refuse(account: Address, grantId: Hex): Promise<boolean>
  /** What all accounts owe a payee on credit, base units: what the meter has counted. */
  exposureOf(token: Address, payee: Address): Promise<bigint>
  /** Where the accounts are spread over several stores: what each part may give on credit. Else there is nothing to move. */
  readonly budgets?: CreditBudgets | undefined
  /** What the meter knows of a grant; undefined when it has to be mirrored first. */
  read(account: Address, grantId: Hex): Promise<GrantMeter | undefined>
  /**
   * Usage events whose requests have an outcome, oldest first, at most `limit`, of one partition. The same events come
   * again, to any reader, until they are acknowledged; no capture changes them any more. Entries that are no usage events
   * go to `onMalformed`.
   */
  readUsage(partition: number, limit: number, onMalformed?: (entry: MalformedUsage) => void): Promise<UsageEvent[]>
  /**
   * Usage events after this one (undefined: from the oldest that waits), oldest first, with or without an outcome, and
   * takes nothing: for those who watch. One that was captured meanwhile comes again with the request's id and its new
   * amount; one that was journalled before it was looked at does not come.
   */
  peekUsage(partition: number, after: string | undefined, limit: number): Promise<UsageEvent[]>
  /** These events are journalled: forget them. */
  acknowledge(partition: number, eventIds: string[]): Promise<void>
  /** A charge that this process made and remembers: true whatever the store says. */
  ownUsage?(eventId: string): UsageEvent | undefined
  /**
   * What the account is counted in now. Ask before reading an account from Postgres and give it to `mirror` with what was
   * read: a store that was rebuilt meanwhile refuses it, because more may have been journalled for that.
   */
  epoch?(account: Address): Promise<number>
  /** Whether the account's money in this token is counted here. What is not was never mirrored, or lost. */
  holds(account: Address, token: Address): Promise<boolean>
  /** Answers when the store does; throws `MeterUnavailableError` otherwise. */
  ping(): Promise<void>
  close(): Promise<void>
}

export const partitionCount = 16

/**
 * One priced use of a service, with what the service lets one grant spend at it. Amounts in the token's base units. Calls
 * that are released later count all the same, what they cost does not.
 */
export type Use = SpendingLimits & {
  account: Address
  grantId: Hex
  payee: Address
  amount: bigint
  /** The voucher of this request: its cumulative amount raises `authorized` of the channel. */
  cumulativeAmount: bigint
  requestId: string
  /** What the request asks for, as a hash: the same id with another fingerprint is a conflict. */
  fingerprint: string
  nowMs: number
  /** What grants that are paid from the allowance may owe; undefined: whatever their own limits and funds allow. */
  credit?: CreditLimits | undefined
  /** A grant is no longer served this long before it ends, so that settlement has time. */
  settlementMarginSeconds: number
  /** What the journal shall know of this charge. Must be JSON. */
  event: UsageRecord
}

/**
 * How far a merchant and the operator trust. Owed on credit is what grants paid from the allowance were charged and have not
 * settled. Base units; undefined is no limit.
 */
export type CreditLimits = {
  /** `reserve_only`: nothing is served on credit. */
  mode: 'credit' | 'reserve_only'
  /** One grant, one account, all accounts: to this payee. */
  maxPerGrant?: bigint | undefined
  maxPerAccount?: bigint | undefined
  maxTotal?: bigint | undefined
  /** Of the merchant's choice, rising: budgets that were given under an older choice are void. */
  version: number
  /** One grant, one account: to all payees. The operator's. */
  maxPerGrantOverall?: bigint | undefined
  maxPerAccountOverall?: bigint | undefined
}

/** What spending is counted for: a grant at one service, a grant at one payee, a grant altogether. */
export type SpendingScope = 'service' | 'payee' | 'grant'
/** Fixed: whole ones of UTC. */
export type SpendingWindow = 'minute' | 'hour' | 'day'
/** Which limit of `SpendingLimits` was reached, and whose. */
export type SpendingLimit = `${SpendingScope}_${SpendingWindow | 'call'}`

/** Which of `CreditLimits` was reached. */
export type ExposureLimit = 'grant' | 'account' | 'merchant' | 'operator_grant' | 'operator_account'

/** What a payee's limit over all accounts leaves each partition to give on its own. See docs/adr on exposure. */
export type CreditBudgets = {
  /** All partitions, in their order. */
  read(token: Address, payee: Address): Promise<PartitionBudget[]>
  /**
   * Lowers a partition's budget to `target`, or to what it has given already if that is more; one that does not count
   * all its accounts keeps nothing beyond that. Undefined when a newer choice of the merchant has been here.
   */
  lower(partition: number, p: BudgetKey & { policy: number; target: bigint }): Promise<PartitionBudget | undefined>
  /** Raises it. False when anything has changed it since `version`. */
  raise(partition: number, p: BudgetKey & { version: number; budget: bigint }): Promise<boolean>
  /** Every account of the partition that owes the payee is counted. False when anything has changed since `version`. */
  confirm(partition: number, p: BudgetKey & { version: number }): Promise<boolean>
}

export type BudgetKey = { token: Address; payee: Address }

export type PartitionBudget = {
  /** What its accounts owe on credit. */
  used: bigint
  /** What they may owe. */
  budget: bigint
  /** What was refused for want of budget since it was last lowered. */
  wanted: bigint
  /** Changes with every change of the budget; 0: a store that knows nothing of it. */
  version: number
  /** The merchant's choice that it was given under. */
  policy: number
  /** Whether `used` counts every account. */
  counted: boolean
}

export type UsageRecord = {
  service: string
  merchant: string
  /** The voucher's signature, over `cumulativeAmount`. */
  signature: Hex
  /** Where the request belongs, as W3C `traceparent`. */
  trace?: string | undefined
  /** Where the request came from, see clients/clientHasher.ts. */
  client?: string | undefined
}

export type Decision =
  | { ok: true; ticket: Ticket; channel: ChannelMeter }
  /** The same request was charged before. `instance` served it, or was about to. */
  | { ok: false; code: 'request.duplicate'; instance: string; ticket: Ticket; channel: ChannelMeter }
  | { ok: false; code: RefusalCode; channel?: ChannelMeter | undefined; limit?: ReachedLimit | undefined }

/** For codes that stand for several limits: which it was. */
export type ReachedLimit = ExposureLimit | SpendingLimit

export type RefusalCode =
  | 'grant.unknown'
  | 'grant.revoked'
  | 'grant.frozen'
  | 'grant.not_yet_valid'
  | 'grant.expired'
  | 'request.conflict'
  | 'credit.refused'
  | 'limit.per_call'
  | 'limit.rate'
  | 'limit.spend'
  | 'voucher.exhausted'
  | 'limit.total'
  | 'limit.period'
  | 'funds.insufficient'
  | 'limit.exposure'

/** A charge that can still be captured. */
export type Ticket = {
  account: Address
  grantId: Hex
  payee: Address
  requestId: string
  amount: bigint
  eventId: string
}

export type CaptureResult = { ok: true; channel: ChannelMeter } | { ok: false; code: 'capture.too_late' }

export type ChannelMeter = { authorized: bigint; charged: bigint; settled: bigint }

export type GrantMeter = {
  status: GrantStatus
  source: GrantSource
  /** What was settled on-chain, to all payees. */
  settled: bigint
  /** Sum over channels of max(0, charged - settled): a payee who collected ahead does not lower what others are owed. */
  owed: bigint
  channels: Record<Address, ChannelMeter>
  /** Sum of `owed` over all grants of the account in this token and of this source. */
  accountOutstanding: bigint
  /** What the account can pay out of this source. */
  accountFunds: bigint
  /** What all grants of the account owe each payee of this one on credit; who is owed nothing is left out. */
  accountExposure: Record<Address, bigint>
}

export type GrantStatus = 'active' | 'frozen' | 'revoked'

/**
 * One account and token as the chain and Postgres know them. `block` orders mirrors: an older one is ignored.
 * Channels bring the journal's sums: `charged` and `authorized` only ever rise by a mirror.
 */
export type AccountState = {
  account: Address
  token: Address
  /** See `Meter.epoch`; undefined where nothing is ever rebuilt. */
  epoch?: number | undefined
  block: bigint
  /**
   * What grants of each source can be charged for: one does not pay for the other. allowance: min(balance, allowance to
   * the module). reserve: what is in the reserve and not asked back.
   */
  funds: Record<GrantSource, bigint>
  grants: GrantState[]
  /**
   * Recently charged requests from the journal, for a store that lost them: remembered where the meter does not know the
   * id, with the empty instance, so that one retry may `adopt` it from ''. Pass those of the last ten minutes when
   * `charge` said `grant.unknown`; leave it out of routine mirrors.
   */
  requests?: ChargedRequestState[] | undefined
}

export type ChargedRequestState = {
  grantId: Hex
  payee: Address
  requestId: string
  fingerprint: string
  amount: bigint
  eventId: string
}

export type GrantState = {
  grantId: Hex
  /** Part of the terms: never changes. */
  source: GrantSource
  /** The strictest of on-chain grant, on-chain account and off-chain operator state. */
  status: GrantStatus
  /**
   * It can be charged no more and owes nothing by the journal. A store that does not hold it takes it only from a mirror that
   * brings `requests`: what was asked for, not what is copied by the way.
   */
  ended?: true | undefined
  validAfter: number
  validUntil: number
  totalLimit: bigint
  /** 0n: no period limit. */
  periodLimit: bigint
  period: number
  /** To all payees, on-chain. */
  settled: bigint
  /** The period of the last settlement, and what was settled in it. */
  periodIndex: number
  periodSettled: bigint
  /** What it may spend, besides its terms, at all payees together and at some; it replaces what was mirrored before. */
  limits?: { all?: SpendingLimits | undefined; payees: { payee: Address; limits: SpendingLimits }[] } | undefined
  channels: { payee: Address; authorized: bigint; charged: bigint; settled: bigint; status: GrantStatus }[]
}

/** An entry of the meter's stream that is no usage event. */
export type MalformedUsage = {
  eventId: string
  /** What is wrong with it. */
  detail: string
  /** What it holds, shortened. */
  entry: Record<string, unknown>
}

export type UsageEvent = {
  /** Unique over partitions and restarts. */
  eventId: string
  partition: number
  account: Address
  grantId: Hex
  payee: Address
  requestId: string
  fingerprint: string
  amount: bigint
  /**
   * With `record.signature` the newest voucher of the channel when this was charged: of this request, or a higher one of
   * an earlier request. So the journal can always prove what it says was charged, even when that request was released.
   */
  cumulativeAmount: bigint
  /** From the meter's clock; part of the event id, so the same on every read. */
  occurredAtMs: number
  record: UsageRecord
}
