import { needVoucherSchema, problemSchema, streamErrorEvent, streamReceiptEvent } from '@protocolbanks/stream-protocol'
import type { Receipt } from './answer.ts'
import { createPaymentEvents, type PaymentEvent } from './paymentEvents.ts'
import { type StopReason, StreamStoppedError } from './streamStopped.ts'

/** A voucher for the next segment of a stream. */
export type SegmentVoucher = { header: string; cumulativeAmount: bigint }

/** What the payments of one stream are made with. */
export type StreamPayments = {
  url: string
  /** As events of this stream have to name it. */
  channelId: string
  /** Makes room for one more segment and signs for it, if that is enough. What it throws ends the stream. */
  nextVoucher(requiredAtomic: bigint): Promise<SegmentVoucher>
  /** Sends a voucher out of band. Throws when it is not taken. */
  sendVoucher(voucher: SegmentVoucher): Promise<void>
  /** The receipt of this very call; undefined for anything else. */
  readReceipt(data: string): Receipt | undefined
  /** The stream is complete, or nobody reads it any more. Called once; what it throws, the reader gets. */
  end(receipt: Receipt | undefined, how: 'complete' | 'left'): void
  /** How long a stream may be silent after it got its voucher. */
  silenceMs: number
}

/** What is read ahead of a slow reader, so that a voucher is not asked for in vain. */
const readAheadBytes = 64 * 1024
/** The same voucher, once more. */
const maxRepeats = 3

/**
 * The body of a metered stream, byte for byte, that pays while it is read: vouchers that it asks for go out of band, its
 * receipt is taken at its end. A stream that asks for what was not agreed ends with an error.
 */
export function payStream(body: ReadableStream<Uint8Array>, payments: StreamPayments): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  const events = createPaymentEvents()
  let receipt: Receipt | undefined
  let newest: SegmentVoucher | undefined
  let repeats = 0
  /** Events of the service that had come when the newest voucher was signed; undefined: none was. */
  let servedBefore: number | undefined
  let sending = Promise.resolve()
  let failure: { error: unknown } | undefined
  let hasEnded = false
  let isReading = false
  let silence: ReturnType<typeof setTimeout> | undefined

  function fail(error: unknown): void {
    failure ??= { error }
    clearTimeout(silence)
    // A read that waits ends with it.
    void reader.cancel(error).catch(() => undefined)
  }

  function end(how: 'complete' | 'left'): void {
    if (hasEnded) return
    hasEnded = true
    clearTimeout(silence)
    payments.end(receipt, how)
  }

  /** After a voucher something has to come, as long as somebody reads. */
  function expectMore(): void {
    clearTimeout(silence)
    if (!isReading || newest === undefined || events.served !== servedBefore) return
    silence = setTimeout(() => fail(stopped('not_served')), payments.silenceMs)
  }

  function take(event: PaymentEvent): void {
    if (event.type === streamReceiptEvent) {
      receipt = payments.readReceipt(event.data) ?? receipt
      return
    }
    if (event.type === streamErrorEvent) {
      fail(stopped('ended_by_service', sayProblem(event.data)))
      return
    }
    // One voucher at a time, in the order they were asked for.
    sending = sending.then(() => pay(parseJson(event.data))).catch(fail)
  }

  async function pay(event: unknown): Promise<void> {
    if (failure || hasEnded) return
    const { success, data: asked } = needVoucherSchema.safeParse(event)
    if (!success) throw stopped('malformed')
    if (asked.channelId.toLowerCase() !== payments.channelId)
      throw stopped('wrong_channel', [`Asked: ${asked.channelId}`])
    const required = BigInt(asked.requiredCumulative)
    if (newest && required <= newest.cumulativeAmount) {
      // It may have been lost, or another process has not seen it yet.
      if (++repeats > maxRepeats) throw stopped('asked_twice', [`Asked ${repeats} times for ${required}.`])
    } else {
      // One event may cost several segments, each with its voucher: how many is for the limits of the payer to say.
      repeats = 0
      newest = await payments.nextVoucher(required)
      servedBefore = events.served
    }
    if (hasEnded) return
    await payments.sendVoucher(newest)
    expectMore()
  }

  const stopped = (reason: StopReason, details: string[] = []) =>
    new StreamStoppedError({ url: payments.url, reason, details })

  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          isReading = true
          expectMore()
          const { done, value } = await reader.read()
          isReading = false
          if (value && !failure) {
            for (const event of events.push(value)) take(event)
            if (events.served !== servedBefore) clearTimeout(silence)
            controller.enqueue(value)
          }
          if (failure) throw failure.error
          if (!done) return
          end('complete')
          controller.close()
        } catch (error) {
          fail(error)
          const thrown = endWith(error)
          controller.error(thrown)
        }
      },
      async cancel(reason) {
        end('left')
        await reader.cancel(reason)
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: readAheadBytes }),
  )

  /** Why the stream ends; that a dispute was found on the way out says more. */
  function endWith(error: unknown): unknown {
    try {
      end('left')
      return error
    } catch (found) {
      return found
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function sayProblem(data: string): string[] {
  const problem = problemSchema.safeParse(parseJson(data))
  if (!problem.success) return []
  const { code, title, detail, hint } = problem.data
  return [`Code: ${code}`, title, detail, hint].filter((part) => part !== undefined)
}
