import type { Answer, Outcome } from '../answers/answerStore.ts'
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
  return new ChargedCall(options)
}

/**
 * A class, unlike most here: an object with getters of its own is of a shape of its own, which V8 keeps until it collects its old
 * generation, and with it the whole request that the getters know.
 */
class ChargedCall implements ServedCharge {
  readonly ticket: Ticket
  readonly #options: ServeChargeOptions
  #metered: MeteredCharge | undefined

  constructor(options: ServeChargeOptions) {
    this.ticket = options.ticket
    this.#options = options
  }

  get receipt(): string {
    const { ticket, channel, writeReceipt } = this.#options
    const metered = this.#metered
    return metered
      ? writeReceipt({ ...ticket, amount: metered.amount }, metered.channel)
      : writeReceipt(ticket, channel)
  }

  get held(): bigint {
    return this.#metered?.held ?? this.ticket.amount
  }

  get segments(): number {
    return this.#metered?.segments ?? 1
  }

  async capture(total: bigint): Promise<CaptureOutcome> {
    const captured = await this.#meteredNow().capture(total)
    return { ...captured, receipt: this.receipt }
  }

  async extend(amount: bigint, used?: bigint): Promise<ExtendOutcome> {
    const extended = await this.#meteredNow().extend(amount, used)
    if (extended.ok) return { ok: true, receipt: this.receipt }
    const { code } = extended.decision
    const known = extended.decision.channel
    if (code !== 'voucher.exhausted' || known === undefined) return { ok: false, code }
    return {
      ok: false,
      code,
      requiredCumulative: known.charged + amount,
      acceptedCumulative: known.authorized,
    }
  }

  rest(used: bigint): Promise<void> {
    return this.#meteredNow().rest(used)
  }

  untilVoucher(ms: number): Promise<void> {
    return this.#options.untilVoucher(ms)
  }

  served(answer: Answer | undefined): void {
    this.#stand()
    this.#options.onServed()
    this.#options.finish(answer ? { state: 'kept', answer, ...this.#cost() } : { state: 'given', ...this.#cost() })
  }

  broken(): void {
    this.#stand()
    this.#options.finish({ state: 'broken' })
  }

  async release(): Promise<boolean> {
    const { meter, ticket, finish, mayHaveSegments } = this.#options
    if (this.#metered || mayHaveSegments) {
      const amount = await this.#meteredNow().release()
      finish({ state: amount === 0n ? 'released' : 'broken' })
      return amount === 0n
    }
    // When the meter cannot be asked the charge stands: the client may repeat the id free of charge.
    const released = await meter.capture(ticket, 0n).catch(() => ({ ok: false }))
    if (!released.ok) meter.served(ticket)
    finish({ state: released.ok ? 'released' : 'broken' })
    return released.ok
  }

  #meteredNow(): MeteredCharge {
    this.#metered ??= this.#options.createMetered()
    return this.#metered
  }

  #stand(): void {
    if (this.#metered) this.#metered.stand()
    else this.#options.meter.served(this.ticket)
  }

  /** What it cost in all, where the meter may have something else under the request's id: its first segment, as captured. */
  #cost(): { amount?: bigint } {
    return this.#metered ? { amount: this.#metered.amount } : {}
  }
}
