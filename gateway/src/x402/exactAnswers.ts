import type { X402Payment } from '@protocolbanks/stream-db'
import {
  type BaseError,
  encodeHeader,
  type PaymentRequirements,
  type SettleResponse,
} from '@protocolbanks/stream-protocol'
import { type Chain, networkOf } from '../payment/chain.ts'
import type { ReceiptSigner } from '../payment/createReceiptSigner.ts'
import { encodeReceipt } from '../payment/createReceiptWriter.ts'
import { refusePayment } from '../payment/offer.ts'
import type { PaidRequest, Settled, Verdict } from '../payment/paymentGate.ts'
import type { PaymentRefusal } from '../payment/refusals.ts'
import { problem } from '../problem.ts'
import { exactReceipt } from './exactReceipt.ts'
import { x402Reasons } from './exactRefusals.ts'

type Refused = Extract<Verdict, { kind: 'refused' }>

const soon = { 'retry-after': '1', 'cache-control': 'no-store' }
const samePayment = 'Repeat the request with the same payment: it is not paid twice.'

/** What a client that pays by `exact` is told. */
export function createExactAnswers(
  chain: Chain,
  offer: (request: PaidRequest) => PaymentRequirements[],
  receiptSigner?: ReceiptSigner | undefined,
) {
  const network = networkOf(chain)

  function refuse(request: PaidRequest, code: PaymentRefusal, detail?: string): Refused {
    const { service, amount, url } = request
    return {
      kind: 'refused',
      code,
      response: refusePayment(chain, { code, service, amount, url, detail, others: offer(request) }),
    }
  }

  /** Value of PAYMENT-RESPONSE of a payment that was settled. */
  function receipt(payment: X402Payment): string {
    return encodeReceipt(exactReceipt(network, payment), receiptSigner)
  }

  /** Value of PAYMENT-RESPONSE of a payment that was not. */
  function failure({ payer }: X402Payment, errorReason: string): string {
    return encodeHeader({ success: false, transaction: '', network, payer, errorReason } satisfies SettleResponse)
  }

  function conflict(): Refused {
    return answer(
      'request.conflict',
      problem(409, 'request.conflict', 'This payment or its id was used for another request.', {
        hint: 'Sign a new authorisation, with a new id, for a new request.',
        headers: soon,
      }),
    )
  }

  return {
    refuse,
    receipt,
    conflict,

    malformed(detail: string): Refused {
      const hint = 'Send what the 402 of this service asks for.'
      return answer(
        'payment.malformed',
        problem(400, 'payment.malformed', 'The payment cannot be read.', { detail, hint }),
      )
    },

    inProgress(): Refused {
      const title = 'A request with this payment is still being served.'
      return answer(
        'request.in_progress',
        problem(409, 'request.in_progress', title, { hint: samePayment, headers: soon }),
      )
    },

    answered(payment: X402Payment): Refused {
      return answer(
        'request.answered',
        problem(409, 'request.answered', 'This request was paid and answered before.', {
          detail: `Transaction ${payment.txHash}; the answer is not kept here.`,
          hint: 'Sign a new authorisation to call again. Who sends a payment-identifier can have the answer again.',
          headers: { 'payment-response': receipt(payment), 'cache-control': 'no-store' },
        }),
      )
    },

    busy(): Refused {
      const title = 'No more payments by exact can be settled at the moment.'
      const hint = 'Repeat the request with the same payment, or pay by the session scheme.'
      return answer('exact.busy', problem(503, 'exact.busy', title, { hint, headers: soon }))
    },

    unavailable({ shortMessage }: BaseError): Refused {
      return answer(
        'exact.unavailable',
        problem(503, 'exact.unavailable', shortMessage, { hint: samePayment, headers: soon }),
      )
    },

    notSettled(request: PaidRequest, payment: X402Payment, reason = 'unknown'): Settled {
      const { code, response } = refuse(request, 'exact.settlement_failed', `Payment ${payment.id}: ${reason}.`)
      response.headers.set('payment-response', failure(payment, x402Reasons['exact.settlement_failed']))
      return { ok: false, code, response }
    },

    pending(payment: X402Payment): Settled {
      const code = 'exact.settlement_pending'
      const response = problem(503, code, 'The transfer is on its way, and not in the chain yet.', {
        detail: `Payment ${payment.id}`,
        hint: samePayment,
        headers: {
          'retry-after': '5',
          'cache-control': 'no-store',
          'payment-response': failure(payment, 'settlement_pending'),
        },
      })
      return { ok: false, code, response }
    },
  }
}

function answer(code: string, response: Response): Refused {
  return { kind: 'refused', code, response }
}
