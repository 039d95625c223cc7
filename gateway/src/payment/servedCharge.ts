import type { Answer } from '../answers/answerStore.ts'
import type { Ticket } from '../meter/meter.ts'

/** A charged call on its way to being served: exactly one of the three must be called, and none when it could not be settled. */
export type ServedCharge = {
  /** Value of PAYMENT-RESPONSE. */
  receipt: string
  /** Undefined for a payment that no meter knows. */
  ticket: Ticket | undefined
  /** What may be used by now, base units. The rest of the meter's part is left out where no meter knows the payment. */
  held?: bigint | undefined
  /** How many segments were charged. */
  segments?: number | undefined
  /**
   * Charges `total`, base units, in the place of what was held, once and before `served`; see `MeteredCharge`. The receipt
   * tells what was charged.
   */
  capture?: ((total: bigint) => Promise<CaptureOutcome>) | undefined
  /** Charges the next segment with the newest voucher of the channel; `used` is what all before it have cost. */
  extend?: ((amount: bigint, used?: bigint) => Promise<ExtendOutcome>) | undefined
  /** Makes everything final at `used`, above 0, and holds nothing until the next `extend`. */
  rest?: ((used: bigint) => Promise<void>) | undefined
  /** Until the channel's next voucher comes to this process, at most `ms`: it may come to another. */
  untilVoucher?: ((ms: number) => Promise<void>) | undefined
  /**
   * Of a payment that moves before its answer leaves: to be called once the call was served, and before `served`. Who is
   * not settled is not answered. Undefined where the meter has charged already.
   */
  settle?: (() => Promise<Settled>) | undefined
  /** What that takes at most. */
  settleSeconds?: number | undefined
  /** It was served. The answer is kept for a retry when it is given. */
  served(answer: Answer | undefined): void
  /** It broke off half-way: the charge stands, and a retry with the same id is served free. */
  broken(): void
  /** It was not served. True: nobody pays. False: it is too late for that, and a retry with the same id is free. */
  release(): Promise<boolean>
}

/** `late`: nothing could be given back any more. `short`: so much was used that no voucher covers. */
export type CaptureOutcome = { receipt: string; amount: bigint; late?: true; short?: bigint }

export type ExtendOutcome =
  | { ok: true; receipt: string }
  /** The voucher is used up: the next has to say `requiredCumulative`. */
  | { ok: false; code: 'voucher.exhausted'; requiredCumulative: bigint; acceptedCumulative: bigint }
  | { ok: false; code: string }

export type Settled =
  | {
      ok: true
      receipt: string
      /** Hash of the transfer, where there is one. */
      transaction?: string | undefined
      /** Value of Payment-Receipt, for an answer with 2xx to who pays by MPP. */
      mppReceipt?: string | undefined
    }
  | { ok: false; code: string; response: Response }
