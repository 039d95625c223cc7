import type { Stack } from '@protocolbanks/stream-dev'
import {
  createVoucherHasher,
  decodeHeader,
  type PaymentPayload,
  paymentIdentifierKey,
  paymentRequiredHeader,
  paymentRequiredSchema,
  signVoucher,
  x402Version,
} from '@protocolbanks/stream-protocol'
import type { Budget } from './giveBudget.ts'
import type { Shop } from './openShop.ts'

/** A payment for what the shop asks, written by hand: any request id, any cumulative amount. */
export async function signPayment(
  stack: Stack,
  shop: Shop,
  { grantId, sessionPrivateKey }: Budget,
  { path, requestId, cumulativeAmount }: { path: string; requestId: string; cumulativeAmount: bigint },
): Promise<PaymentPayload> {
  const asked = await fetch(`${shop.url}${path}`)
  const required = decodeHeader(asked.headers.get(paymentRequiredHeader) ?? '', paymentRequiredSchema)
  const [accepted] = required.ok ? required.value.accepts : []
  if (!accepted) throw new Error(`${shop.url}${path} was answered ${asked.status} without an offer.`)
  const hash = createVoucherHasher({ chainId: stack.chain.chainId, module: stack.contracts.sessionKeyValidator })
  const { signature } = signVoucher(hash, sessionPrivateKey, { grantId, payee: shop.payee, cumulativeAmount })
  return {
    x402Version,
    accepted,
    payload: { grantId, cumulativeAmount: cumulativeAmount.toString(), signature },
    extensions: { [paymentIdentifierKey]: { info: { id: requestId } } },
  }
}
