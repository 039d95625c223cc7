import type { ChannelMeter, Decision, Meter, Ticket, Use } from '../meter/meter.ts'

/**
 * A charge whose amount is known in the end only: it holds one segment after the other. Each segment is a charge of its own,
 * under the request's id and then `<id>~2`, `<id>~3` and so on, which no client can choose.
 */
export type MeteredCharge = {
  /** What all segments so far may cost together, base units. */
  readonly held: bigint
  /** What is charged by now: a segment counts as held until it is captured. */
  readonly amount: bigint
  readonly channel: ChannelMeter
  /** How many segments were charged. */
  readonly segments: number
  /**
   * Charges the next segment with the newest voucher of the channel. With `used`, what all before have cost by now, they are
   * final at that; where nothing was used of the last one, it stays, and nothing more is held. Without it they stay open, for
   * one thing that costs more than a segment. A refusal leaves what is held then. Nothing, with `used` above 0: as `rest`.
   */
  extend(amount: bigint, used?: bigint): Promise<Extended>
  /**
   * Charges `total` for everything. What is above what was held is charged if the newest voucher allows it. Less than what
   * earlier segments cost is charged as that.
   */
  capture(total: bigint): Promise<Captured>
  /**
   * Nobody takes more for now: everything is final at `used`, above 0 base units, and nothing is held until the next `extend`.
   */
  rest(used: bigint): Promise<void>
  /** Undoes what was not served; answers what stands all the same, 0 when nobody pays. */
  release(): Promise<bigint>
  /** What is held is charged: nobody can say how much was used. */
  stand(): void
}

export type Extended = { ok: true } | { ok: false; decision: Extract<Decision, { ok: false }> }

/** `late`: the amount was lower than held and could not be lowered any more. `short`: it was higher, and no voucher covers it. */
export type Captured = { amount: bigint; late?: true; short?: bigint }

export type MeteredChargeOptions = {
  meter: Pick<Meter, 'capture' | 'served' | 'adopt'>
  /** As the first segment was charged. */
  charge(use: Use): Promise<Decision>
  use: Use
  ticket: Ticket
  channel: ChannelMeter
  /** Of this process, in the meter. */
  instance: string
  /** The request was charged before: by a process that is gone, or for an answer that broke off. Its segments are paid for. */
  isRepeat: boolean
  /** Each segment pays for a part that is of use by itself, as of a stream: what was delivered is paid when the rest fails. */
  isPaidInPart: boolean
}

/** Segments of an earlier request under the same id, which the meter still knows, that are passed over at most. */
const maxPassedOver = 10_000

/** Starts with the first segment charged. */
export function createMeteredCharge(options: MeteredChargeOptions): MeteredCharge {
  const { meter, use } = options
  let { channel } = options
  /** The segments that are not final, oldest first. */
  let open: Ticket[] = [options.ticket]
  let closed = 0n
  let segments = 1
  /** Of the newest segment. */
  let number = 1
  /** Charged when the request was first served, oldest first; as far as they are known. */
  const earlier: Ticket[] = options.isRepeat ? [options.ticket] : []
  let isFinal = false
  let last: Promise<unknown> = Promise.resolve()

  function held(): bigint {
    return open.reduce((sum, { amount }) => sum + amount, closed)
  }

  /** Makes a segment final at this amount, or as it is held when that is too late. */
  async function close(ticket: Ticket, amount: bigint): Promise<boolean> {
    open = open.filter((one) => one !== ticket)
    if (amount === ticket.amount) {
      meter.served(ticket)
      closed += amount
      return true
    }
    // When the meter cannot be asked, what is held is charged.
    const captured = await meter.capture(ticket, amount).catch(() => undefined)
    if (captured?.ok) {
      channel = captured.channel
      closed += amount
      return true
    }
    meter.served(ticket)
    closed += ticket.amount
    return false
  }

  /** Makes open segments final, so that all together cost `total`; false when that was too late. */
  async function closeAt(total: bigint, isLast: boolean): Promise<boolean> {
    let isExact = true
    for (const ticket of open) {
      const used = clamp(total - closed, ticket.amount)
      if (used === 0n && !isLast) return isExact
      isExact = (await close(ticket, used)) && isExact
    }
    return isExact
  }

  /** A segment that was charged when the request was first served. */
  async function takeOver({ instance: from, ticket, channel: known }: Duplicate): Promise<boolean> {
    if (from !== options.instance && !(await meter.adopt({ ...ticket, from }))) return false
    open.push(ticket)
    earlier.push(ticket)
    channel = known
    return true
  }

  /** Finds all segments of a request that is served again; false when the meter does not say. */
  async function findEarlier(): Promise<boolean> {
    for (; number <= maxPassedOver; number += 1, segments += 1) {
      // A charge of nothing shows whether its id was used.
      const probe = { ...use, requestId: `${use.requestId}~${number + 1}`, amount: 0n }
      const decision = await options.charge(probe).catch(() => undefined)
      if (decision?.ok) {
        const undone = await meter.capture(decision.ticket, 0n).catch(() => undefined)
        if (!undone?.ok) meter.served(decision.ticket)
        return true
      }
      if (decision?.code !== 'request.duplicate') {
        // A grant that is not served any more is refused before its ids are looked at.
        return decision !== undefined && !decision.code.startsWith('grant.')
      }
      if (!(await takeOver(decision).catch(() => false))) return false
    }
    return false
  }

  function standNow(tickets: readonly Ticket[]): void {
    for (const ticket of tickets) meter.served(ticket)
    closed += tickets.reduce((sum, { amount }) => sum + amount, 0n)
    open = open.filter((ticket) => !tickets.includes(ticket))
  }

  /**
   * Nobody pays for what was never delivered, and what was delivered the first time is not given back. Of a stream that is
   * each segment that another came after: it was used up by then. How much of the last was, nobody can say, so it is given
   * back, as is everything of an answer that is of use as a whole only. When the meter cannot tell all segments, none is:
   * then a retry with the same id is free as before.
   */
  async function release(): Promise<bigint> {
    isFinal = true
    if (options.isRepeat) {
      if (!(await findEarlier())) standNow(open)
      else if (options.isPaidInPart) standNow(open.filter((ticket) => earlier.slice(0, -1).includes(ticket)))
    }
    await closeAt(0n, true)
    return closed
  }

  async function next(amount: bigint): Promise<Extended> {
    for (let passedOver = 0; ; passedOver++) {
      const requestId = `${use.requestId}~${number + 1}`
      const decision = await options.charge({ ...use, requestId, amount })
      if (decision.ok) {
        open.push(decision.ticket)
        channel = decision.channel
      } else if (decision.code === 'request.duplicate' && options.isRepeat) {
        if (!(await takeOver(decision))) return { ok: false, decision }
      } else if (isUsed(decision) && !options.isRepeat && passedOver < maxPassedOver) {
        // The meter forgets the request's own id first: what was paid under it before pays for nothing now.
        number += 1
        continue
      } else return { ok: false, decision }
      number += 1
      segments += 1
      return { ok: true }
    }
  }

  async function extend(amount: bigint, used?: bigint): Promise<Extended> {
    if (isFinal) return { ok: false, decision: { ok: false, code: 'request.conflict' } }
    if (used === undefined) return next(amount)
    const isRest = amount === 0n && used > 0n
    await closeAt(used, isRest)
    if (isRest) return { ok: true }
    return open.length > 0 ? { ok: true } : next(amount)
  }

  async function capture(total: bigint): Promise<Captured> {
    isFinal = true
    const isExact = await closeAt(total, true)
    if (!isExact) return { amount: closed, late: true }
    if (total <= closed) return { amount: closed }
    const short = total - closed
    const more = await next(short).catch(() => undefined)
    if (!more?.ok) return { amount: closed, short }
    for (const ticket of open) await close(ticket, ticket.amount)
    return { amount: closed }
  }

  /** One after the other: a client may leave while a segment is being charged. */
  function inTurn<result>(task: () => Promise<result>): Promise<result> {
    const done = last.then(task)
    last = done.catch(() => undefined)
    return done
  }

  return {
    get held() {
      return held()
    },
    get amount() {
      return held()
    },
    get channel() {
      return channel
    },
    get segments() {
      return segments
    },
    extend: (amount, used) => inTurn(() => extend(amount, used)),
    capture: (total) => inTurn(() => capture(total)),
    rest: (used) => inTurn(async () => void (isFinal || (await closeAt(used, true)))),
    release: () => inTurn(release),
    stand() {
      isFinal = true
      standNow(open)
    },
  }
}

type Duplicate = Extract<Decision, { code: 'request.duplicate' }>

function isUsed(decision: Decision): boolean {
  return !decision.ok && (decision.code === 'request.duplicate' || decision.code === 'request.conflict')
}

function clamp(amount: bigint, max: bigint): bigint {
  if (amount < 0n) return 0n
  return amount > max ? max : amount
}
