import { setTimeout as delay } from 'node:timers/promises'
import {
  amountOf,
  coveredBy,
  formatEvent,
  isEventStream,
  type MeteredPricing,
  needVoucherEvent,
  streamErrorEvent,
  streamReceiptEvent,
} from '@protocolbanks/stream-protocol'
import type { Answer } from '../answers/answerStore.ts'
import { larger } from '../meter/larger.ts'
import { problem } from '../problem.ts'
import { measureUse } from './measureUse.ts'
import type { ServedCharge } from './paymentGate.ts'

/** A charge that can be captured and extended. */
export type MeterableCharge = ServedCharge & {
  [part in 'held' | 'capture' | 'extend' | 'rest' | 'untilVoucher']: NonNullable<ServedCharge[part]>
}

/** How the charge of a metered call ended: `cut` for want of a voucher, `unmeasured` when the answer did not say what it used. */
export type MeteredOutcome = 'captured' | 'late' | 'short' | 'unmeasured' | 'cut'

export type MeterStreamOptions = {
  charge: MeterableCharge
  /** As the events that ask for a voucher name the channel. */
  channelId: string
  pricing: MeteredPricing
  /** What a further segment holds, base units. */
  segment: bigint
  /** How long the stream waits for the next voucher. */
  graceMs: number
  head: Pick<Answer, 'status' | 'headers'>
  contentType: string | null
  /** Length of the request's body. */
  requestBytes: number
  /** When the work began, by `now`. */
  startedAtMs: number
  /** Milliseconds, monotonic. */
  now(): number
  /** Answers up to this are kept for a retry. */
  maxKeptBytes: number
  /** How long nobody may read before what was delivered becomes final; 10 s when left out. */
  stallMs?: number | undefined
  onEnd(outcome: MeteredOutcome): void
}

/** A voucher may come to another process: so often the meter is asked. */
const pollMs = 100
/** After this what was used of a segment is made final, so that the journal does not wait for the end of the stream. */
const maxSegmentMs = 30_000
const defaultStallMs = 10_000
/** Events up to this are passed as a whole, so that something can be said between them. */
const maxEventBytes = 64 * 1024

/**
 * Passes an answer on byte by byte, at the reader's pace, and charges it while it passes: nothing leaves that is not held.
 * When what is held is used up the next segment is charged, with the voucher that the channel has by then; until it has one
 * the stream stands, and of server-sent events says so. Whoever leaves pays for what was delivered. While nobody reads nothing
 * is held; who takes nothing that costs for as long as a segment may be open has left.
 */
export function meterStream(
  stream: ReadableStream<Uint8Array>,
  options: MeterStreamOptions,
): ReadableStream<Uint8Array> {
  const { charge, pricing, segment, head, now } = options
  const reader = stream.getReader()
  const isEvents = isEventStream(options.contentType)
  const measure = measureUse(options)
  /** What has come and is not delivered, and how much of it is measured. */
  let pending: Uint8Array = new Uint8Array()
  let controllerOf: Controller | undefined
  let scanned = 0
  let endsEvent = true
  let reading: ReturnType<typeof reader.read> | undefined
  let isBetweenEvents = true
  /** What was delivered costs. */
  let delivered = 0n
  let hasDelivered = false
  let segmentAtMs = now()
  /** Of what was delivered, what is final. */
  let closed = 0n
  let kept: Uint8Array[] | undefined = []
  let keptBytes = 0
  let settling: Promise<string> | undefined
  let isLeft = false
  let isPulling = false
  let isOver = false
  /** What was given back when nobody read, and is held again before more is delivered. */
  let rested = 0n
  /** What has to be held before more is delivered, though it is not known what that costs. */
  let least = 0n
  let resting: Promise<void> = Promise.resolve()
  const stall = setTimeout(() => {
    if (!isPulling && !isOver) resting = rest().catch(() => undefined)
  }, options.stallMs ?? defaultStallMs)
  stall.unref()

  /** Charges what was delivered, once; the receipt. */
  function settle(total: bigint, outcome: MeteredOutcome, answer: 'kept' | 'given'): Promise<string> {
    settling ??= charge.capture(total).then(({ receipt, late, short }) => {
      options.onEnd(late ? 'late' : short !== undefined ? 'short' : outcome)
      const told = encoder.encode(formatEvent(streamReceiptEvent, parseReceipt(receipt)))
      const body = answer === 'kept' && kept ? Buffer.concat(isEvents ? [...kept, told] : kept) : undefined
      charge.served(body && { ...head, body: Uint8Array.from(body) })
      return receipt
    })
    return settling
  }

  /** Holds at least `cost`, waiting for vouchers if need be; else why not. */
  async function cover(cost: bigint, controller: Controller): Promise<string | undefined> {
    let waitsUntilMs: number | undefined
    let isTold = false
    const needed = larger(cost, least)
    try {
      while (charge.held < needed) {
        if (isLeft) return 'left'
        // Until something came of them, segments stay open: if it does not come, nobody pays for them.
        const used = delivered > closed ? delivered : undefined
        const extended = await charge.extend(segment > 0n ? segment : needed - charge.held, used).catch(() => undefined)
        if (extended) closed = delivered
        if (extended?.ok) {
          segmentAtMs = now()
          waitsUntilMs = undefined
          isTold = false
          continue
        }
        if (extended && !('requiredCumulative' in extended)) return extended.code
        measure.pause()
        waitsUntilMs ??= now() + options.graceMs
        if (extended && !isTold && isEvents && isBetweenEvents && !isLeft) {
          isTold = true
          tell(controller, needVoucherEvent, {
            channelId: options.channelId,
            requiredCumulative: extended.requiredCumulative.toString(),
            acceptedCumulative: extended.acceptedCumulative.toString(),
          })
        }
        const leftMs = waitsUntilMs - now()
        if (leftMs <= 0) return extended?.code ?? 'meter.unavailable'
        await charge.untilVoucher(Math.min(pollMs, leftMs))
      }
      least = 0n
      return undefined
    } finally {
      measure.resume()
    }
  }

  /** The next chunk; undefined when the time that is held runs out before. */
  async function readOn(): Promise<Awaited<ReturnType<typeof reader.read>> | undefined> {
    reading ??= reader.read()
    const covered = pricing.kind === 'second' ? coveredBy(pricing, charge.held) : undefined
    if (covered === undefined) return done(await reading)
    const leftMs = Math.max(0, Number(covered) - (measure.usage().milliseconds ?? 0))
    const stop = new AbortController()
    const timeUp = delay(Math.min(leftMs + 1, maxTimerMs), undefined, { signal: stop.signal, ref: false }).catch(
      () => undefined,
    )
    const read = await Promise.race([reading, timeUp])
    stop.abort()
    return read && done(read)
  }

  function done<read>(read: read): read {
    reading = undefined
    return read
  }

  /**
   * Measures how much of what has come is passed on at once: a whole event, or what the bytes that are held cover; 0 when more
   * of it has to come.
   */
  function cutPiece(isLast: boolean): number {
    if (isEvents) {
      const { to, isEvent } = measure.read(pending, scanned)
      scanned = to
      endsEvent = isEvent
      return isEvent || isLast || pending.length > maxEventBytes ? to : 0
    }
    const covered = pricing.kind === 'byte' ? coveredBy(pricing, charge.held) : undefined
    const room = covered === undefined ? pending.length : Number(covered) - (measure.usage().bytes ?? 0)
    // At least one byte: what it costs asks for the next segment.
    return measure.read(pending.subarray(0, Math.max(1, room))).to
  }

  /** Passes a piece on once it is held. False when the stream was cut before it. */
  async function pass(length: number, controller: Controller): Promise<boolean> {
    const cost = amountOf(pricing, measure.usage())
    const refusal = await cover(cost, controller)
    if (refusal !== undefined) {
      await cut(refusal, controller)
      return false
    }
    const piece = pending.subarray(0, length)
    pending = pending.subarray(length)
    scanned = 0
    delivered = cost
    hasDelivered = true
    isBetweenEvents = endsEvent
    keptBytes += length
    if (keptBytes > options.maxKeptBytes) kept = undefined
    kept?.push(piece)
    controller.enqueue(piece)
    return true
  }

  /** What was delivered costs, when nothing more is. */
  function costNow(): bigint {
    if (!hasDelivered && pricing.kind !== 'second') return 0n
    if (!measure.isMeasured) return unmeasured()
    const cost = pricing.kind === 'second' ? amountOf(pricing, measure.usage()) : delivered
    // The last bit of time may be above it.
    if (cost > charge.held) return charge.held
    return cost
  }

  /** What nobody can measure costs what was held for it. */
  function unmeasured(): bigint {
    return larger(charge.held + rested, least)
  }

  /** Nobody reads: what was delivered becomes final and nothing is held, so that the journal does not wait for a reader. */
  async function rest(): Promise<void> {
    const heldBefore = charge.held
    const known = measure.isMeasured ? costNow() : delivered
    const used = measure.isMeasured || head.status < 400 ? known : 0n
    if (used > 0n) {
      await charge.rest(used)
      closed = used
      rested += heldBefore - charge.held
    } else if (now() - segmentAtMs < maxSegmentMs) stall.refresh()
    else {
      // To make nothing final would free the request's id while its answer passes.
      await leave(undefined)
      controllerOf?.error(new Error('The stream ends here: nobody read it.'))
    }
  }

  async function holdAgain(): Promise<void> {
    if (rested === 0n) return
    const again = await charge.extend(rested).catch(() => undefined)
    if (!again?.ok && !measure.isMeasured) least = charge.held + rested
    rested = 0n
    segmentAtMs = now()
  }

  /** What was delivered is paid, and the API hears that nobody wants more. */
  async function leave(reason: unknown): Promise<void> {
    isLeft = true
    isOver = true
    clearTimeout(stall)
    const cost = costNow()
    await reader.cancel(reason).catch(() => undefined)
    await settle(cost, 'captured', 'given')
  }

  /** What was used of a segment becomes final now and then, and the rest is held anew. */
  async function renew(): Promise<void> {
    if (now() - segmentAtMs < maxSegmentMs || delivered >= charge.held) return
    segmentAtMs = now()
    const renewed = await charge.extend(charge.held - delivered, delivered).catch(() => undefined)
    if (renewed) closed = delivered
  }

  async function finish(controller: Controller): Promise<void> {
    const ofUnmeasured = head.status >= 400 ? 0n : unmeasured()
    const total = measure.isMeasured ? amountOf(pricing, measure.usage()) : ofUnmeasured
    const receipt = await settle(total, measure.isMeasured ? 'captured' : 'unmeasured', 'kept')
    if (isEvents && isBetweenEvents) tell(controller, streamReceiptEvent, parseReceipt(receipt))
    controller.close()
  }

  /** Ends a stream that is not paid any further. What was delivered is. */
  async function cut(code: string, controller: Controller): Promise<void> {
    const receipt = await settle(costNow(), 'cut', 'given')
    await reader.cancel().catch(() => undefined)
    if (isLeft) return
    if (!isEvents || !isBetweenEvents)
      return controller.error(new Error(`The stream is not paid any further: ${code}.`))
    tell(controller, streamReceiptEvent, parseReceipt(receipt))
    const detail = `Charged: ${charge.held}`
    const hint = 'Call again with a new request id to go on; send the next voucher in time.'
    const title = 'The stream ends here: it is not paid any further.'
    tell(controller, streamErrorEvent, await problem(402, code, title, { detail, hint }).json())
    controller.close()
  }

  /** Passes the next piece on. False: there is no more. */
  async function passNext(controller: Controller): Promise<boolean> {
    await renew()
    for (;;) {
      const length = pending.length > scanned ? cutPiece(false) : 0
      if (length > 0) return pass(length, controller)
      const read = await readOn()
      if (isLeft) return false
      if (read?.done) break
      if (read) pending = pending.length === 0 ? read.value : Buffer.concat([pending, read.value])
      else {
        const refusal = await cover(amountOf(pricing, measure.usage()), controller)
        if (refusal !== undefined) {
          await cut(refusal, controller)
          return false
        }
      }
    }
    // An event that nothing ends.
    if (pending.length > 0 && !(await pass(pending.length, controller))) return false
    await finish(controller)
    return false
  }

  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        controllerOf = controller
      },
      async pull(controller) {
        isPulling = true
        try {
          await resting
          if (isLeft) return
          await holdAgain()
          if (!(await passNext(controller))) isOver = true
        } catch (error) {
          isOver = true
          // What the API left half-way is paid as far as it came.
          if (hasDelivered) await settle(costNow(), 'captured', 'given')
          else if (!settling) await charge.release()
          controller.error(error)
        } finally {
          isPulling = false
          if (isOver) clearTimeout(stall)
          else stall.refresh()
        }
      },
      async cancel(reason) {
        isLeft = true
        await resting
        await leave(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

type Controller = ReadableStreamDefaultController<Uint8Array>

const maxTimerMs = 2 ** 31 - 1
const encoder = new TextEncoder()

/** Says something between the events of the API. */
function tell(controller: Controller, event: string, data: unknown): void {
  controller.enqueue(encoder.encode(formatEvent(event, data)))
}

function parseReceipt(receipt: string): unknown {
  return JSON.parse(Buffer.from(receipt, 'base64').toString())
}
