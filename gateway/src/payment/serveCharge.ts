import type { Outcome } from '../answers/answerStore.ts'
import type { ChannelMeter, Meter, Ticket } from '../meter/meter.ts'
import type { MeteredCharge } from './meteredCharge.ts'
import type { CaptureOutcome, ExtendOutcome, ServedCharge } from './servedCharge.ts'

export type ServeChargeOptions = {
  meter: Pick<Meter, 'capture' | 'served'>
  ticket: Ticket
  channel: ChannelMeter
  /** The request was charged before and is priced by use: it may have further segments. */
  mayHaveSegments: boolean
  /** Made when the call is charged by use. */
  createMetered(): MeteredCharge
  writeReceipt(ticket: Ticket, channel: ChannelMeter): string
  /** Records what became of the request, once. */
  finish(outcome: Outcome): void
  /** Until a voucher of the channel comes to this process. */
  untilVoucher(ms: number): Promise<void>
  onServed(): void
}

/** A call that the meter charged, on its way to being served. */
export function serveCharge(options: ServeChargeOptions): ServedCharge {
  const { meter, ticket, channel, writeReceipt, finish } = options
  let metered: MeteredCharge | undefined

  function meteredOf(): MeteredCharge {
    metered ??= options.createMetered()
    return metered
  }

  function receiptNow(): string {
    return metered
      ? writeReceipt({ ...ticket, amount: metered.amount }, metered.channel)
      : writeReceipt(ticket, channel)
  }

  /** What it cost in all, where the meter may have something else under the request's id: its first segment, as captured. */
  function cost(): { amount?: bigint } {
    return metered ? { amount: metered.amount } : {}
  }

  return {
    ticket,
    get receipt() {
      return receiptNow()
    },
    get held() {
      return metered?.held ?? ticket.amount
    },
    get segments() {
      return metered?.segments ?? 1
    },
    async capture(total): Promise<CaptureOutcome> {
      const captured = await meteredOf().capture(total)
      return { ...captured, receipt: receiptNow() }
    },
    async extend(amount, used): Promise<ExtendOutcome> {
      const extended = await meteredOf().extend(amount, used)
      if (extended.ok) return { ok: true, receipt: receiptNow() }
      const { code } = extended.decision
      const known = extended.decision.channel
      if (code !== 'voucher.exhausted' || known === undefined) return { ok: false, code }
      return {
        ok: false,
        code,
        requiredCumulative: known.charged + amount,
        acceptedCumulative: known.authorized,
      }
    },
    rest: (used) => meteredOf().rest(used),
    untilVoucher: options.untilVoucher,
    served(answer) {
      if (metered) metered.stand()
      else meter.served(ticket)
      options.onServed()
      finish(answer ? { state: 'kept', answer, ...cost() } : { state: 'given', ...cost() })
    },
    broken() {
      if (metered) metered.stand()
      else meter.served(ticket)
      finish({ state: 'broken' })
    },
    async release() {
      if (metered || options.mayHaveSegments) {
        const amount = await meteredOf().release()
        finish({ state: amount === 0n ? 'released' : 'broken' })
        return amount === 0n
      }
      // When the meter cannot be asked the charge stands: the client may repeat the id free of charge.
      const released = await meter.capture(ticket, 0n).catch(() => ({ ok: false }))
      if (!released.ok) meter.served(ticket)
      finish({ state: released.ok ? 'released' : 'broken' })
      return released.ok
    },
  }
}
