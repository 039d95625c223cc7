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
   * Charges the next segment with the newest voucher of the channel. What was used of the one before is final then: all of it,
   * or up to `used` of all together. Where nothing was used of it, it stays, and nothing more is held. A refusal leaves
   * everything as it was where all was used.
   */
  extend(amount: bigint, used?: bigint): Promise<Extended>
  /**
   * Charges `total` for everything. What is above what was held is charged if the newest voucher allows it. Less than what
   * earlier segments cost is charged as that.
   */
  capture(total: bigint): Promise<Captured>
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
}

/** Segments of an earlier request under the same id, which the meter still knows, that are passed over at most. */
const maxPassedOver = 10_000

/** Starts with the first segment charged. */
export function createMeteredCharge(options: MeteredChargeOptions): MeteredCharge {
  const { meter, use } = options
  let { channel } = options
  /** The segment that is not final. */
  let open: Ticket | undefined = options.ticket
  let closed = 0n
  let segments = 1
  /** Of the newest segment. */
  let number = 1
  let isFinal = false
  let last: Promise<unknown> = Promise.resolve()

  /** Makes the open segment final at this amount, or as it is held when that is too late. */
  async function close(amount: bigint): Promise<boolean> {
    if (!open) return true
    const ticket = open
    open = undefined
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

  async function next(amount: bigint): Promise<Extended> {
    for (let passedOver = 0; ; passedOver++) {
      const requestId = `${use.requestId}~${number + 1}`
      const decision = await options.charge({ ...use, requestId, amount })
      if (decision.ok) {
        open = decision.ticket
        channel = decision.channel
      } else if (decision.code === 'request.duplicate' && options.isRepeat) {
        const { instance: from, ticket } = decision
        if (from !== options.instance && !(await meter.adopt({ ...ticket, from }))) return { ok: false, decision }
        open = ticket
        channel = decision.channel
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
    const before = open
    const rest = before && used !== undefined ? clamp(used - closed, before.amount) : undefined
    if (rest === 0n) return { ok: true }
    if (before && rest !== undefined && rest < before.amount) {
      await close(rest)
      return next(amount)
    }
    const extended = await next(amount)
    if (extended.ok && before) {
      meter.served(before)
      closed += before.amount
    }
    return extended
  }

  async function capture(total: bigint): Promise<Captured> {
    isFinal = true
    const isExact = await close(clamp(total - closed, open?.amount ?? 0n))
    if (!isExact) return { amount: closed, late: true }
    if (total <= closed) return { amount: closed }
    const short = total - closed
    const more = await next(short).catch(() => undefined)
    if (!more?.ok) return { amount: closed, short }
    await close(open?.amount ?? 0n)
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
      return closed + (open?.amount ?? 0n)
    },
    get amount() {
      return closed + (open?.amount ?? 0n)
    },
    get channel() {
      return channel
    },
    get segments() {
      return segments
    },
    extend: (amount, used) => inTurn(() => extend(amount, used)),
    capture: (total) => inTurn(() => capture(total)),
    stand() {
      isFinal = true
      if (open) meter.served(open)
      closed += open?.amount ?? 0n
      open = undefined
    },
  }
}

function isUsed(decision: Decision): boolean {
  return !decision.ok && (decision.code === 'request.duplicate' || decision.code === 'request.conflict')
}

function clamp(amount: bigint, max: bigint): bigint {
  if (amount < 0n) return 0n
  return amount > max ? max : amount
}
