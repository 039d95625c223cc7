import type { MeteredPricing } from '@protocolbanks/stream-protocol'
import type { ChargesClient } from './chargesClient.ts'
import { createCallMeter } from './createCallMeter.ts'
import { passStream, type StreamCharge, smaller } from './passStream.ts'

/** A charged call that is priced by use: what it holds is charged unless one of these tells what it used. */
export type MeteredCall = {
  /** For the head of an answer that is charged while it passes: its receipt tells what is held. */
  headers: Record<string, string>
  /** More units, as the handler counts them. */
  report(units: number | string): void
  /** The answer is complete and has not left yet: what it used is charged. Answers the headers to add. */
  complete(answer: CompleteAnswer): Promise<Record<string, string>>
  /** The head of an answer is about to leave that is charged while it passes. */
  begin(head: Omit<CompleteAnswer, 'body'>): StreamCharge
  /** It is released. */
  stop(): void
}

export type CompleteAnswer = { status: number; contentType: string | null | undefined; body: Uint8Array }

/** What calls are metered with; see `Charger`. */
export type Metering = {
  client: ChargesClient
  graceMs: number
  vouchers: Map<string, () => void>
  now(): number
}

export type MeteredCallOptions = {
  pricing: MeteredPricing
  ticket: string
  /** Headers of the charge, with a receipt of what is held. */
  headers: Record<string, string>
  holdAtomic: bigint
  /** What each further segment of a stream holds. */
  segmentAtomic: bigint
  requestBytes: number
  /** The request id, when it is known. */
  requestId: string | undefined
  /** See `channelIdOf`. */
  channelId: string | undefined
}

/** A gateway takes a charge of which it hears nothing for a minute for one that stands. */
const keepOpenMs = 20_000
/** A day. */
const maxKeepOpens = 4_320

/** Starts to measure: the handler runs from here. */
export function createMeteredCall(charger: Metering, options: MeteredCallOptions): MeteredCall {
  const { graceMs, now } = charger
  const { ticket, headers, holdAtomic } = options
  const meter = createCallMeter({ pricing: options.pricing, requestBytes: options.requestBytes, now })
  let stream: StreamCharge | undefined
  let keepOpens = 0
  const timer = setInterval(keepOpen, keepOpenMs)
  // Of Node: a process does not wait for it.
  if (typeof timer === 'object') timer.unref()
  const stop = () => clearInterval(timer)
  const client: Pick<ChargesClient, 'capture' | 'extend'> = {
    extend: charger.client.extend,
    capture(id, amountAtomic) {
      stop()
      return charger.client.capture(id, amountAtomic)
    },
  }

  function keepOpen(): void {
    if (++keepOpens >= maxKeepOpens) stop()
    if (stream) void stream.keepOpen()
    else void charger.client.extend(ticket, { amountAtomic: options.segmentAtomic, usedAtomic: 0n })
  }

  return {
    headers,
    stop,
    report: meter.report,
    async complete({ status, contentType, body }) {
      meter.begin(contentType)
      meter.add(body)
      // What did not say how much it used costs what was held, unless it is an error. Never more than was agreed to.
      const unmeasured = status >= 400 ? 0n : holdAtomic
      const amount = meter.isMeasured ? smaller(meter.amount(), holdAtomic) : unmeasured
      return { ...headers, ...(await client.capture(ticket, amount)) }
    },
    begin({ status, contentType }) {
      meter.begin(contentType)
      stream = passStream({
        client,
        ticket,
        channelId: options.channelId,
        meter,
        isError: status >= 400,
        holdAtomic,
        segmentAtomic: options.segmentAtomic,
        graceMs,
        now,
        wait: (ms) => waitForVoucher(charger, options.requestId, ms),
      })
      return stream
    },
  }
}

/** A voucher that comes by another process is found when its time is up. */
function waitForVoucher({ vouchers }: Metering, requestId: string | undefined, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      if (requestId !== undefined && vouchers.get(requestId) === done) vouchers.delete(requestId)
      resolve()
    }
    const timer = setTimeout(done, ms)
    if (requestId !== undefined) vouchers.set(requestId, done)
  })
}
