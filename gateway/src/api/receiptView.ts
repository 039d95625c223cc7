import { type Charge, type ChargeReceipt, openStates, type X402Receipt } from '@protocolbanks/stream-db'
import { canonicalJson, formatAmount, type SettleResponse } from '@protocolbanks/stream-protocol'
import type { ReceiptSigner } from '../payment/createReceiptSigner.ts'
import { signReceipt } from '../payment/createReceiptWriter.ts'
import { exactReceipt, exactRequestId } from '../x402/exactReceipt.ts'

export type ReceiptViewDeps = {
  /** CAIP-2. */
  network: SettleResponse['network']
  tokenDecimals: number
  /** Without one the receipts are not signed. */
  receiptSigner?: Pick<ReceiptSigner, 'sign'> | undefined
}

/** Charges and payments by `exact` as the management API shows them, alone and in lists. */
export function createReceiptView({ network, tokenDecimals, receiptSigner }: ReceiptViewDeps) {
  return { charge, chargeReceipt, exact, exactReceipt: paid }

  function charge({ amount, occurredAt, ...rest }: Charge) {
    const { eventId, journalledAt, grantId, account, payee, merchantId, serviceId, traceId } = rest
    const [requestId = '', segment = '1'] = rest.requestId.split('~')
    return {
      scheme: 'session' as const,
      requestId,
      /** A stream that is charged by use is charged in several: this is which of them, and `amount` its own. */
      segment: Number(segment),
      eventId,
      occurredAt,
      journalledAt,
      grantId,
      account,
      payee,
      merchantId,
      serviceId,
      traceId,
      ...money(amount),
    }
  }

  function chargeReceipt(found: ChargeReceipt) {
    const { segment: _, ...one } = charge(found)
    return {
      ...one,
      /** How many charges `amount` is the sum of. */
      segments: found.segments,
      settlement: settlementOf(found),
      ...signed(settleResponseOf(found)),
    }
  }

  /** No grant and no channel: one authorisation, which has moved the money itself. */
  function exact(found: X402Receipt) {
    const { id: paymentId, payer: account, payee, merchantId, serviceId, txHash, settledAt: occurredAt } = found
    const requestId = exactRequestId(found)
    return {
      scheme: 'exact' as const,
      ...{ requestId, paymentId, occurredAt, account, payee, merchantId, serviceId, txHash },
      ...money(found.amount),
    }
  }

  function paid(found: X402Receipt) {
    const { id, txHash } = found
    return {
      ...exact(found),
      settlement: { state: 'settled' as const, last: { id, state: 'settled', txHash } },
      ...signed(exactReceipt(network, found)),
    }
  }

  function money(amount: bigint) {
    return { amount: formatAmount(amount, tokenDecimals), amountAtomic: amount.toString() }
  }

  function signed(unsigned: SettleResponse) {
    const receipt = signReceipt(unsigned, receiptSigner)
    /** As PAYMENT-RESPONSE carries it. */
    const header = Buffer.from(canonicalJson(receipt)).toString('base64')
    return { receipt, header }
  }

  /** As the paid answer said it, but for `charged`, which counts here in the order of time. */
  function settleResponseOf({ amount, account, occurredAt, ...rest }: ChargeReceipt): SettleResponse {
    const { grantId, payee, requestId, serviceId: service, source, traceId } = rest
    return {
      success: true,
      transaction: '',
      network,
      payer: account,
      amount: amount.toString(),
      extra: {
        grantId,
        payee,
        charged: rest.chargedUpTo.toString(),
        authorized: rest.cumulativeAmount.toString(),
        requestId,
        service,
        source: source ?? undefined,
        time: occurredAt.toISOString(),
        traceId: traceId ?? undefined,
      },
    }
  }
}

/**
 * `settled`: the payee has it, by this transaction where the settlement was ours. `settling`: a settlement claims it.
 * `owed`: none does.
 */
function settlementOf({ isSettled, settlements }: ChargeReceipt) {
  const newest = settlements.at(-1)
  const claims = newest !== undefined && (openStates as readonly string[]).includes(newest.state)
  const last = newest && { id: newest.id, state: newest.state, txHash: newest.txHash }
  return { state: isSettled ? 'settled' : claims ? 'settling' : 'owed', last: last ?? null }
}
