import type { Address } from '@protocolbanks/stream-protocol'

/** One grant at one payee, as this process knows it. Base units. */
export type Channel = {
  /** What was charged in total: what answers told, and every call whose outcome nobody told. */
  charged: bigint
  /** Prices of the calls that have no outcome yet. */
  inFlight: bigint
  /** The highest cumulative amount signed here, or named by the gateway at first contact. */
  authorized: bigint
  /** Whether an answer has told what is charged; until then an earlier process may have spent more than we know. */
  contacted: boolean
  /** The payee's figures were refused once: nothing more is signed for it. */
  disputed: boolean
  /** Rises with every reservation and outcome: equal numbers mean that nothing happened in between. */
  turn: number
}

/** What one paying fetch has spent and promised under its grant. Immutable: each function returns the next one. */
export type Ledger = {
  channels: ReadonlyMap<Address, Channel>
  hour: readonly Bucket[]
  /** Everything that was ever signed is in here: a payee that is not was promised nothing, whatever it says. */
  isComplete?: true
}

/** Prices reserved within ten seconds; at most 361 of them cover an hour. */
type Bucket = { startMs: number; amount: bigint }

/** Base units; undefined is no limit. */
export type LedgerLimits = {
  maxPerCall?: bigint | undefined
  /** Of one stream with all its segments; `maxPerCall` when it is left out. */
  maxPerStream?: bigint | undefined
  /** Of everything charged and in flight, at all payees. */
  maxTotal?: bigint | undefined
  /** Of the prices of the last sixty minutes. */
  maxPerHour?: bigint | undefined
  /** The grant's own total limit. */
  grantTotalLimit?: bigint | undefined
}

export type LimitName = keyof LedgerLimits

/** Room in the ledger for one call. */
export type Reservation = {
  payee: Address
  price: bigint
  /** What the voucher of this call has to say. */
  cumulativeAmount: bigint
  turn: number
  bucketMs: number
}

export type ReserveResult =
  | { ok: true; ledger: Ledger; reservation: Reservation }
  | { ok: false; limit: LimitName; limitAtomic: bigint; neededAtomic: bigint }
  | { ok: false; limit: 'disputed' }

/** What the gateway says about a channel. */
export type Claim = { charged: bigint; authorized: bigint }

/** How a call ended. `unknown`: no answer told; it counts as charged until an answer says otherwise. */
export type Outcome =
  /** What is priced by use may also be charged from vouchers that earlier calls left unused: segments, and what is above a hold. */
  | { kind: 'charged'; amount: bigint; of?: 'call' | 'metered' | 'stream' | undefined; claim?: Claim | undefined }
  | { kind: 'released'; claim?: Claim | undefined }
  | { kind: 'unknown' }

/** More was charged than allowed: by one call above its price, or in total above every voucher we know of. */
export type Dispute = { of: 'call' | 'total'; chargedAtomic: bigint; allowedAtomic: bigint }

/**
 * A payee counts more than the calls of this agent explain, though no more than was signed: it may have kept what it
 * said it refused, or charged a call above what it held. What it counts is taken over, because the gateway charges by it.
 */
export type Discrepancy = { chargedAtomic: bigint; explainedAtomic: bigint }

const hourMs = 3_600_000
const bucketMs = 10_000
const newChannel: Channel = {
  charged: 0n,
  inFlight: 0n,
  authorized: 0n,
  contacted: false,
  disputed: false,
  turn: 0,
}

export const emptyLedger: Ledger = { channels: new Map(), hour: [] }

/**
 * Makes room for a call of `price`, or names the limit that forbids it.
 *
 * The voucher covers what is charged, everything in flight and this price. So for any set of calls that have reached
 * the gateway, in whatever order, the newest of their vouchers covers their sum.
 */
export function reserve(
  ledger: Ledger,
  limits: LedgerLimits,
  { payee, price, nowMs }: { payee: Address; price: bigint; nowMs: number },
): ReserveResult {
  const channel = ledger.channels.get(payee) ?? { ...newChannel, contacted: ledger.isComplete === true }
  if (channel.disputed) return { ok: false, limit: 'disputed' }

  return book(ledger, limits, { payee, channel, more: price, nowMs, limit: 'maxPerCall', ofCall: price })
}

/**
 * Makes room for the next segment of a stream, or names the limit that forbids it. What is returned stands for the whole
 * stream: it is concluded once.
 */
export function extend(
  ledger: Ledger,
  limits: LedgerLimits,
  { reservation, more, nowMs }: { reservation: Reservation; more: bigint; nowMs: number },
): ReserveResult {
  const { payee } = reservation
  const channel = ledger.channels.get(payee) ?? newChannel
  if (channel.disputed) return { ok: false, limit: 'disputed' }
  const price = reservation.price + more
  const limit = limits.maxPerStream === undefined ? 'maxPerCall' : 'maxPerStream'
  const booked = book(ledger, limits, { payee, channel, more, nowMs, limit, ofCall: price })
  // Still alone if it was.
  if (booked.ok && channel.turn !== reservation.turn) booked.reservation.turn = reservation.turn
  return booked
}

/** Takes `more` for a call that then costs `ofCall`, where no limit forbids it. */
function book(
  ledger: Ledger,
  limits: LedgerLimits,
  p: {
    payee: Address
    channel: Channel
    more: bigint
    nowMs: number
    limit: 'maxPerCall' | 'maxPerStream'
    ofCall: bigint
  },
): ReserveResult {
  const { payee, channel, more, nowMs, limit, ofCall } = p
  const hour = recent(ledger.hour, nowMs)
  const refused = limitReached(ledger, limits, { hour, more, limit, ofCall })
  if (refused) return refused

  const cumulativeAmount = channel.charged + channel.inFlight + more
  const turn = channel.turn + 1
  const bucketMs = bucketOf(hour, nowMs)
  return {
    ok: true,
    ledger: {
      ...ledger,
      channels: withChannel(ledger, payee, {
        ...channel,
        inFlight: channel.inFlight + more,
        authorized: larger(channel.authorized, cumulativeAmount),
        turn,
      }),
      hour: limits.maxPerHour === undefined ? [] : addTo(hour, bucketMs, more),
    },
    reservation: { payee, price: ofCall, cumulativeAmount, turn, bucketMs },
  }
}

/** The first limit that `more` would go above, for a call that then costs `ofCall`. */
function limitReached(
  ledger: Ledger,
  limits: LedgerLimits,
  p: { hour: readonly Bucket[]; more: bigint; limit: 'maxPerCall' | 'maxPerStream'; ofCall: bigint },
): Extract<ReserveResult, { limitAtomic: bigint }> | undefined {
  const total = spentOf(ledger) + p.more
  const needed: [LimitName, bigint][] = [
    [p.limit, p.ofCall],
    ['maxTotal', total],
    ['grantTotalLimit', total],
    ['maxPerHour', p.hour.reduce((sum, bucket) => sum + bucket.amount, p.more)],
  ]
  for (const [limit, neededAtomic] of needed) {
    const limitAtomic = limits[limit]
    if (limitAtomic !== undefined && neededAtomic > limitAtomic) return { ok: false, limit, limitAtomic, neededAtomic }
  }
  return undefined
}

/**
 * What the head of a stream tells at the first contact, long before its call is concluded: where the payee's count stands
 * with what this call holds in it. What cannot be true is left for the conclusion to dispute.
 */
export function meet(ledger: Ledger, payee: Address, held: bigint, claim: Claim): Ledger {
  const channel = ledger.channels.get(payee) ?? newChannel
  if (channel.contacted || claim.charged < held || claim.charged > larger(channel.authorized, claim.authorized)) {
    return ledger
  }
  const met: Channel = {
    ...channel,
    charged: larger(channel.charged, claim.charged - held),
    authorized: larger(channel.authorized, claim.authorized),
    contacted: true,
  }
  return { ...ledger, channels: withChannel(ledger, payee, met) }
}

/** Records how a reserved call ended. A disputed figure is not taken over; the channel is closed for this process. */
export function conclude(
  ledger: Ledger,
  { payee, price, turn, bucketMs: bucket }: Reservation,
  outcome: Outcome,
): { ledger: Ledger; dispute?: Dispute; discrepancy?: Discrepancy } {
  const channel = ledger.channels.get(payee) ?? newChannel
  const claim = outcome.kind === 'unknown' ? undefined : outcome.claim
  const dispute = disputeOf(channel, price, outcome)
  // An overcharge counts no higher than its price: `disputed` stops the channel before the figure matters.
  const spent =
    outcome.kind === 'released'
      ? 0n
      : outcome.kind === 'charged'
        ? smaller(outcome.amount, mostFor(channel, price, outcome))
        : price
  const after: Channel = {
    ...channel,
    inFlight: channel.inFlight - price,
    charged: channel.charged + spent,
    disputed: channel.disputed || dispute !== undefined,
    turn: channel.turn + 1,
  }
  if (claim && !dispute) {
    // Nothing else was under way from this call's start to its end: the gateway's figure is exact, lower ones too.
    const alone = channel.turn === turn && channel.inFlight === price
    after.charged = alone ? claim.charged : learn(channel, after, claim)
    if (!channel.contacted) after.authorized = larger(channel.authorized, claim.authorized)
    after.contacted = true
  }
  const next: Ledger = {
    ...ledger,
    channels: withChannel(ledger, payee, after),
    hour: spent === price ? ledger.hour : addTo(ledger.hour, bucket, spent - price),
  }
  if (dispute) return { ledger: next, dispute }
  if (outcome.kind === 'charged' && outcome.of === 'metered' && outcome.amount > price) {
    return { ledger: next, discrepancy: { chargedAtomic: outcome.amount, explainedAtomic: price } }
  }
  const explainedAtomic = channel.charged + channel.inFlight - price + spent
  if (!claim || !channel.contacted || claim.charged <= explainedAtomic) return { ledger: next }
  return { ledger: next, discrepancy: { chargedAtomic: claim.charged, explainedAtomic } }
}

/** Everything charged and in flight, at all payees. */
export function spentOf(ledger: Ledger): bigint {
  let sum = 0n
  for (const channel of ledger.channels.values()) sum += channel.charged + channel.inFlight
  return sum
}

/**
 * What a figure told amid other calls teaches. It may or may not include those that are in flight, so it is taken as
 * if it did not: the next vouchers may cover a little more than needed, never less. A lone call corrects that later.
 */
function learn(before: Channel, after: Channel, claim: Claim): bigint {
  if (!before.contacted) return larger(after.charged, claim.charged)
  return claim.charged > after.charged + after.inFlight ? claim.charged : after.charged
}

/**
 * Most that may be charged for a call: its price, and by use what is signed and not used besides. What earlier
 * processes signed is known from the first contact alone.
 */
function mostFor(channel: Channel, price: bigint, { of, claim }: Extract<Outcome, { kind: 'charged' }>): bigint {
  if (of !== 'stream' && of !== 'metered') return price
  if (!channel.contacted && claim) return larger(price, claim.authorized)
  const unused = channel.authorized - channel.charged - channel.inFlight
  return unused > 0n ? price + unused : price
}

function disputeOf(channel: Channel, price: bigint, outcome: Outcome): Dispute | undefined {
  if (outcome.kind === 'charged') {
    const allowedAtomic = mostFor(channel, price, outcome)
    if (outcome.amount > allowedAtomic) return { of: 'call', chargedAtomic: outcome.amount, allowedAtomic }
  }
  if (outcome.kind === 'unknown' || !outcome.claim) return undefined
  const { charged, authorized } = outcome.claim
  const allowedAtomic = channel.contacted ? channel.authorized : larger(channel.authorized, authorized)
  return charged > allowedAtomic ? { of: 'total', chargedAtomic: charged, allowedAtomic } : undefined
}

function withChannel(ledger: Ledger, payee: Address, channel: Channel): ReadonlyMap<Address, Channel> {
  return new Map(ledger.channels).set(payee, channel)
}

/** A bucket counts until its youngest possible member is an hour old. */
function recent(hour: readonly Bucket[], nowMs: number): readonly Bucket[] {
  const first = hour.findIndex((bucket) => bucket.startMs + bucketMs > nowMs - hourMs)
  return first < 0 ? [] : hour.slice(first)
}

/** Never before the newest bucket, so that a clock set back neither reorders nor grows the list. */
function bucketOf(hour: readonly Bucket[], nowMs: number): number {
  return Math.max(hour.at(-1)?.startMs ?? 0, Math.floor(nowMs / bucketMs) * bucketMs)
}

function addTo(hour: readonly Bucket[], startMs: number, amount: bigint): readonly Bucket[] {
  const index = hour.findLastIndex((bucket) => bucket.startMs === startMs)
  const found = hour[index]
  // A stream gives back to its last bucket what it took in several.
  if (found) return hour.with(index, { startMs, amount: larger(0n, found.amount + amount) })
  // A refund to a bucket that is out of the window has nothing to give back.
  return amount > 0n ? [...hour, { startMs, amount }] : hour
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
