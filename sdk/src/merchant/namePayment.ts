import { exactScheme, paymentIdentifierKey, voucherForSchema } from '@protocolbanks/stream-protocol'
import type { AnswerInstead } from './chargeResult.ts'
import type { ChargeRequest } from './chargesClient.ts'
import { sha256 } from './sha256.ts'

/** A payment as its client names the request. Nothing of it is proved here. */
export type NamedPayment = {
  /** The same in every payment for one request. */
  name: string
  /** Of a payment by our scheme. */
  session: NamedVoucher | undefined
}

type NamedVoucher = {
  requestId: string
  channelId: string
  /** Of the stream that this is a further voucher for. */
  voucherFor: string | undefined
}

/** Undefined where the client gave no name: then the header itself is one. */
export function namePayment(paymentSignature: string): NamedPayment | undefined {
  try {
    const { accepted, payload, extensions } = JSON.parse(atob(paymentSignature))
    const requestId = extensions?.[paymentIdentifierKey]?.info?.id
    if (typeof requestId !== 'string') return undefined
    const payer = payload?.authorization?.from
    if (accepted?.scheme === exactScheme) {
      if (typeof payer !== 'string') return undefined
      return { name: `exact ${payer.toLowerCase()} ${requestId}`, session: undefined }
    }
    const grantId = payload?.grantId
    if (typeof grantId !== 'string') return undefined
    const marked = voucherForSchema.safeParse(extensions.session)
    const channelId = `${grantId}:${accepted?.payTo}`.toLowerCase()
    const session = { requestId, channelId, voucherFor: marked.data?.voucherFor }
    return { name: `${grantId.toLowerCase()} ${requestId}`, session }
  } catch {
    return undefined
  }
}

/**
 * Names a payment for one exact request. Nothing is given out under it before the gateway has said that the payment is
 * good and was made before for this very request, so the header need not be proved here.
 */
export async function keyOf(
  { method, url, bodyHash = '', paymentSignature }: ChargeRequest,
  named: NamedPayment | undefined,
): Promise<string | undefined> {
  if (paymentSignature === null) return undefined
  const text = [named?.name ?? paymentSignature, method, url, bodyHash].join('\0')
  return sha256(new TextEncoder().encode(text))
}

/**
 * Of the gateway: the payment was checked, and is one it has charged for this very request. Of a payment by `exact` it may say
 * `request.in_progress` before it has looked at the signature, so there a name that the client chose is not proved by that.
 */
export function isPaidBefore({ status, body }: AnswerInstead, named: NamedPayment | undefined): boolean {
  if (status !== 409) return false
  try {
    const { code } = JSON.parse(body)
    return code === 'request.answered' || (code === 'request.in_progress' && (!named || named.session !== undefined))
  } catch {
    return false
  }
}
