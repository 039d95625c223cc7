import {
  formatEvent,
  needVoucherEvent,
  type Problem,
  streamErrorEvent,
  streamReceiptEvent,
} from '@protocolbanks/stream-protocol'
import type { ExtendResult } from './chargeResult.ts'
import type { ChargesClient } from './chargesClient.ts'
import type { CallMeter } from './createCallMeter.ts'

/** An answer that is charged while it passes. `write` puts bytes on their way to the agent. */
export type StreamCharge = {
  /** Passes a chunk on, as far as it is paid. False: the stream is to be cut. At once, unless a voucher has to be waited for. */
  pass(chunk: Uint8Array, write: Write): boolean | Promise<boolean>
  /** It is complete: charges what it was, and says so. */
  finish(write: Write): Promise<void>
  /** Whether it can say in the stream itself that it is cut. */
  readonly saysEnd: boolean
  /**
   * It goes on, slowly or not at all: what was delivered becomes final, so that the gateway's journal does not wait for its
   * end, and the rest of what is held is given back until more is delivered.
   */
  keepOpen(): Promise<void>
  /** Its reader left, or its source broke: what was delivered is charged. */
  leave(): void
}

export type Write = (bytes: Uint8Array<ArrayBuffer>) => void

export type StreamChargeOptions = {
  client: Pick<ChargesClient, 'extend' | 'capture'>
  ticket: string
  /** As events of the stream name it. */
  channelId: string | undefined
  meter: CallMeter
  /** The answer has a status of 400 or above. */
  isError: boolean
  /** What is held already, and what each further segment holds; base units. */
  holdAtomic: bigint
  segmentAtomic: bigint
  /** How long the next voucher may take. */
  graceMs: number
  now(): number
  /** Resolves after so long, or when a voucher for this call came by. */
  wait(ms: number): Promise<void>
}

/** How often it is asked whether a voucher came, which may have gone by another process. */
const pollMs = 150
/** Segments that one chunk may take. */
const maxSegments = 10_000

/**
 * Passes a metered answer on segment by segment, each charged before it goes out. Of server-sent events only whole ones count:
 * nothing is said in the middle of one, and the one under way is let through.
 */
export function passStream(options: StreamChargeOptions): StreamCharge {
  const { client, ticket, channelId, meter, segmentAtomic, graceMs, now } = options
  let heldAtomic = options.holdAtomic
  /** Of what is held what is final, and how many segments there were. */
  let closedAtomic = 0n
  let segments = 1
  /** What was given back of what was held: so much is held next. */
  let restedAtomic = 0n
  /** One question to the gateway after the other. */
  let asking: Promise<unknown> = Promise.resolve()
  /** Of what was delivered, while something that was measured waits to be paid. */
  let deliveredAtomic: bigint | undefined
  let hasLeft = false
  let capturing: Promise<Record<string, string>> | undefined

  const isPaid = () => meter.amount() <= heldAtomic

  /** With what was given back while nothing passed: it was agreed to. */
  const agreedAtomic = () => heldAtomic + restedAtomic

  function capture(): Promise<Record<string, string>> {
    // A stream that never said how much it used costs what was held.
    const unmeasured = options.isError ? 0n : agreedAtomic()
    const amount = meter.isMeasured ? smaller(deliveredAtomic ?? meter.amount(), agreedAtomic()) : unmeasured
    capturing ??= client.capture(ticket, amount)
    return capturing
  }

  function pass(chunk: Uint8Array, write: Write): boolean | Promise<boolean> {
    let at = 0
    while (at < chunk.length) {
      if (hasLeft) return false
      const room = meter.isEvents ? Number.POSITIVE_INFINITY : meter.room(heldAtomic)
      const before = meter.amount()
      const mayWait = meter.isBetweenEvents
      const to = meter.isEvents ? meter.endOfEvent(chunk, at) : Math.min(chunk.length, at + room)
      meter.add(chunk.subarray(at, to))
      if (mayWait && (room === 0 || !isPaid())) {
        if (at > 0) write(chunk.slice(0, at))
        deliveredAtomic = before
        return passPaid(chunk.subarray(at), to - at, write)
      }
      at = to
    }
    write(chunk.slice())
    return true
  }

  /** What was measured of a chunk already, once it is paid, and then the rest of it. */
  async function passPaid(chunk: Uint8Array, measured: number, write: Write): Promise<boolean> {
    let more = 0
    meter.pause()
    try {
      do {
        if (more++ === maxSegments || !(await extend(write))) return false
      } while (!isPaid())
    } finally {
      meter.resume()
    }
    deliveredAtomic = undefined
    if (measured > 0) write(chunk.slice(0, measured))
    return measured < chunk.length ? pass(chunk.subarray(measured), write) : true
  }

  /** One more segment. Says what is missing, and waits for it. */
  async function extend(write: Write): Promise<boolean> {
    const say = (event: string, data: unknown) => {
      if (meter.isEvents) write(new TextEncoder().encode(formatEvent(event, data)))
    }
    const until = now() + graceMs
    for (let hasAsked = false; ; hasAsked = true) {
      const result = await inTurn(hold)
      if (hasLeft) return false
      if (result.outcome === 'charged') return true
      if (result.outcome === 'refused' || now() >= until) {
        say(streamErrorEvent, problemOf(result.outcome === 'refused' ? result.code : 'voucher.exhausted'))
        await capture()
        return false
      }
      const { outcome: _, ...needed } = result
      if (!hasAsked) say(needVoucherEvent, { channelId, ...needed })
      await options.wait(Math.min(pollMs, Math.max(0, until - now())))
      if (hasLeft) return false
    }
  }

  function inTurn<result>(ask: () => Promise<result>): Promise<result> {
    const asked = asking.then(ask)
    asking = asked.catch(() => undefined)
    return asked
  }

  /** Asks for one more segment; the ones before are final at what was delivered. */
  async function hold(): Promise<ExtendResult> {
    const used = smaller(deliveredAtomic ?? meter.amount(), heldAtomic)
    // Of what nothing was used all stays open: a single piece costs more, and may not come.
    const usedAtomic = used > closedAtomic ? used : undefined
    const amountAtomic = restedAtomic > 0n ? restedAtomic : segmentAtomic
    const result = await client.extend(ticket, { amountAtomic, usedAtomic, segment: segments + 1 })
    if (result.outcome !== 'charged') return result
    closedAtomic = usedAtomic ?? closedAtomic
    heldAtomic = (usedAtomic ?? heldAtomic) + amountAtomic
    restedAtomic = 0n
    segments++
    return result
  }

  async function keepOpen(): Promise<void> {
    if (capturing) return
    const used = smaller(deliveredAtomic ?? meter.amount(), heldAtomic)
    // What nobody can measure yet, or costs nothing so far, stays held.
    if (!meter.isMeasured || used === 0n) {
      await client.extend(ticket, { amountAtomic: segmentAtomic, usedAtomic: closedAtomic })
      return
    }
    restedAtomic += heldAtomic - used
    heldAtomic = used
    closedAtomic = used
    await client.extend(ticket, { amountAtomic: 0n, usedAtomic: used })
  }

  return {
    pass,
    get saysEnd() {
      return meter.isEvents
    },
    keepOpen: () => inTurn(keepOpen),
    async finish(write) {
      // A voucher that is there already pays for what came last.
      if (!isPaid()) await inTurn(hold)
      const { 'payment-response': receipt } = await capture()
      if (!meter.isEvents || receipt === undefined || !meter.isBetweenEvents) return
      write(new TextEncoder().encode(formatEvent(streamReceiptEvent, decodeReceipt(receipt))))
    },
    leave() {
      if (hasLeft) return
      hasLeft = true
      void capture()
    },
  }
}

function problemOf(code: string): Problem {
  return {
    type: `https://docs.protocolbanks.com/errors#${code.replaceAll(/[._]/g, '-')}`,
    title: 'The next segment of the stream is not paid.',
    status: 402,
    code,
    hint: 'What was delivered is paid. Call again to go on.',
  }
}

/** As the gateway wrote it. */
function decodeReceipt(header: string): unknown {
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(header), (character) => character.charCodeAt(0))))
}

export function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
