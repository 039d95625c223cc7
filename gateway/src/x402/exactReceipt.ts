import type { X402Receipt } from '@protocolbanks/stream-db'
import type { SettleResponse } from '@protocolbanks/stream-protocol'

/** Of a payment that has moved, what its receipt is made of; it has no hash for as long as nobody knows it. */
export type ExactPaid = Pick<X402Receipt, 'id' | 'serviceId' | 'payer' | 'payee' | 'amount' | 'paymentIdentifier'> & {
  txHash: X402Receipt['txHash'] | null
}

/** The request id of a payment: what its payer called the request, else the payment's own id. */
export function exactRequestId({ paymentIdentifier, id }: Pick<ExactPaid, 'paymentIdentifier' | 'id'>): string {
  return paymentIdentifier ?? id
}

/** What PAYMENT-RESPONSE says of a call that was paid by `exact`, at once and whenever it is asked for again; unsigned. */
export function exactReceipt(network: SettleResponse['network'], paid: ExactPaid): SettleResponse {
  return {
    success: true,
    transaction: paid.txHash ?? '',
    network,
    payer: paid.payer,
    amount: paid.amount.toString(),
    extra: {
      paymentId: paid.id,
      service: paid.serviceId ?? undefined,
      payee: paid.payee,
      requestId: exactRequestId(paid),
    },
  }
}
